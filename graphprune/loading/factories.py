"""Build a module from the name of its architecture."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from graphprune.errors import LoadError, first_line
from graphprune.ir.forward_errors import FORWARD_ERRORS, user_line

from .pretrained import LIBRARY, architecture, import_library, with_plain_outputs

__all__ = ["LIBRARIES", "build", "examples_of", "resolve", "users_code"]

LIBRARIES = ("hf", "timm", "torchvision")
"""Names that may stand before the colon in place of a module of the user's own."""

_CONSTRUCTION_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    OSError,
    AttributeError,
    ImportError,
)


@dataclass(frozen=True)
class _Name:
    """An architecture's name, ``library:name(key=value)``, in its parts."""

    library: str
    name: str
    options: Mapping[str, Any]


def build(arch: str, checkpoint: Any = None) -> torch.nn.Module:
    """Build the module that ``arch`` names.

    Args:
        arch: ``package.module:Class``, ``torchvision:resnet50``, ``timm:convnext_tiny`` or
            ``hf:DIR`` with a ``config.json``; literal arguments may follow, as in
            ``timm:resnet18(num_classes=10)``.
        checkpoint: what a file holds whose weights are for the module. If the class can load checkpoints of
            Lightning itself, it is built with the hyperparameters that one has; arguments in ``arch`` go before.

    Raises:
        LoadError: if there is no such thing, its library isn't installed, or it makes no module.
    """
    parsed = _parsed(arch)
    if parsed.library not in LIBRARIES:
        make_own = resolve(f"{parsed.library}:{parsed.name}")
        made = make_own(**{**_hyperparameters(make_own, checkpoint), **parsed.options})
    else:
        library = import_library(LIBRARY if parsed.library == "hf" else parsed.library)
        make = {"hf": _of_transformers, "timm": _of_timm, "torchvision": _of_torchvision}
        try:
            made = make[parsed.library](library, parsed)
        except _CONSTRUCTION_ERRORS as error:
            raise LoadError(
                f"{arch} can't be built: {first_line(error)}",
                hint="check the architecture",
                options=("arch",),
            ) from error
    if not isinstance(made, torch.nn.Module):
        raise LoadError(
            f"{arch} fails: it makes an object of type {type(made).__name__}, not a module",
            hint="check the architecture",
            options=("arch",),
        )
    return made


def _parsed(arch: str) -> _Name:
    library, colon, rest = arch.partition(":")
    name, options = rest, {}
    if rest.endswith(")") and library != "hf":
        name, _, arguments = rest[:-1].partition("(")
        try:
            options = _keywords(f"f({arguments})")
        except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
            raise _malformed(arch) from error
    if not colon or not library or not name:
        raise _malformed(arch)
    return _Name(library, name, options)


def _keywords(text: str) -> dict[str, Any]:
    """Read the arguments of a call ``f(key=value, ...)``.

    Raises:
        ValueError: if there is anything else, or a value is no literal.
    """
    match ast.parse(text, mode="eval").body:
        case ast.Call(func=ast.Name(), args=[], keywords=keywords):
            return {_name(keyword): ast.literal_eval(keyword.value) for keyword in keywords}
        case _:
            raise ValueError("not a call with keyword arguments alone")


def _name(keyword: ast.keyword) -> str:
    if keyword.arg is None:
        raise ValueError("a dictionary of arguments")
    return keyword.arg


def _hyperparameters(kind: Any, checkpoint: Any) -> dict[str, Any]:
    """List the arguments of a Lightning module that a checkpoint has, as ``load_from_checkpoint`` takes them."""
    content = checkpoint if isinstance(checkpoint, Mapping) else {}
    saved = content.get("hyper_parameters")
    if not isinstance(saved, Mapping) or not hasattr(kind, "load_from_checkpoint"):
        return {}
    parameters = inspect.signature(kind).parameters
    any_names = {n for n, p in parameters.items() if p.kind is inspect.Parameter.VAR_KEYWORD}
    if (whole := str(content.get("hparams_name"))) in {*parameters} - {*saved} - any_names:
        return {whole: saved}
    return {str(name): x for name, x in saved.items() if any_names or name in parameters}


def _malformed(arch: str) -> LoadError:
    return LoadError(
        f"{arch!r} is not of the form package.module:factory",
        hint="or package.module:factory(key=value), torchvision:NAME, timm:NAME, hf:DIR",
    )


def _of_torchvision(library: ModuleType, arch: _Name) -> Any:
    return library.models.get_model(arch.name, weights=None, **arch.options)


def _of_timm(library: ModuleType, arch: _Name) -> Any:
    return library.create_model(arch.name, pretrained=False, **arch.options)


def _of_transformers(library: ModuleType, arch: _Name) -> Any:
    kind, config = architecture(library, Path(arch.name))
    return with_plain_outputs(kind(config))


@contextmanager
def users_code(name: str, hint: str = "") -> Generator[None]:
    """Turn whatever the user's own code raises into a ``LoadError`` that names it.

    Args:
        name: what is run.
        hint: what to do about it.
    """
    try:
        yield
    except (*FORWARD_ERRORS, SystemExit) as error:
        raise LoadError(
            f"{name} fails: {type(error).__name__}: {first_line(error)}",
            where=user_line(error),
            hint=hint,
        ) from error


def resolve(name: str) -> Callable[..., Any]:
    """Import the object that ``package.module:attribute`` names.

    Raises:
        LoadError: if there is none, or it isn't callable.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise _malformed(name)
    if module.endswith(".py") or "/" in module or os.sep in module:
        file = Path(module)
        raise LoadError(
            f"{name} names a file, not a module",
            hint=f"write {file.stem}:{attribute}, and run it from the folder of the file",
        )
    try:
        imported = importlib.import_module(module)
    except (ImportError, ValueError, TypeError) as error:
        raise LoadError(
            f"can't find {name}: {error}",
            hint="modules are found in the current folder, and where Python looks for packages",
        ) from error
    found = getattr(imported, attribute, None)
    if found is None:
        raise LoadError(
            f"can't find {name}: module {module!r} has no attribute {attribute!r}",
            hint=f"it has {', '.join(_defined(imported)[:12]) or 'no function or class'}",
        )
    if not callable(found):
        raise LoadError(f"{name} is not callable")
    return found


def _defined(module: ModuleType) -> list[str]:
    """List the classes and functions that a module defines."""
    return [
        name
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__
    ]


def examples_of(arch: str, model: torch.nn.Module) -> Sequence[Any] | None:
    """Make example inputs if the architecture says what it takes, else return ``None``."""
    library = arch.partition(":")[0]
    if library == "timm":
        size = getattr(model, "default_cfg", {}).get("input_size")
        return (torch.randn(1, *size),) if size else None
    if not library or library in LIBRARIES:
        return None
    make = getattr(importlib.import_module(library), "example_inputs", None)
    if make is not None:
        made = make()
        return (made,) if isinstance(made, torch.Tensor) else tuple(made)
    given = getattr(model, "example_input_array", None)  # as modules of Lightning have it
    if isinstance(given, torch.Tensor):
        return (given,)
    return given if isinstance(given, tuple) else None
