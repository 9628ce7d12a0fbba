"""Load: a file on disk becomes a module or a program. The only place that reads model files.

Nothing is unpickled unless the user says so: ``torch.load`` runs with ``weights_only=True``
everywhere but behind ``trust_pickle``.
"""

from __future__ import annotations

import importlib
import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from graphprune.errors import LoadError, first_line

__all__ = ["Loaded", "load", "load_program", "parse_input", "resolve"]

_DTYPES = {
    "float32": torch.float32, "float64": torch.float64, "float16": torch.float16,
    "bfloat16": torch.bfloat16, "int64": torch.int64, "int32": torch.int32,
    "int8": torch.int8, "uint8": torch.uint8, "bool": torch.bool,
}  # fmt: skip


@dataclass(frozen=True)
class Loaded:
    """What a file holds: a module, or a program with its own example inputs."""

    model: torch.nn.Module | None = None
    program: ExportedProgram | None = None
    inputs: tuple[Any, ...] = field(default=())


def load(path: Path, *, arch: str = "", inputs: Sequence[str] = (),
         trust_pickle: bool = False) -> Loaded:
    """Read a model file: ``.pt2``, a state dict with ``arch``, or a pickled module.

    Args:
        path: the file.
        arch: ``package.module:factory``, a callable without arguments that builds the module.
        inputs: shapes such as ``1x3x32x32`` or ``1x128:int64``, one for each input; without
            any, ``example_inputs()`` of the module that ``arch`` names is called.
        trust_pickle: the file may run code when it is read.

    Raises:
        LoadError: if it can't be read, or doesn't hold what was said.
    """
    if not path.is_file():
        raise LoadError(f"no such file: {path}")
    if _is_program(path):
        return Loaded(program=load_program(path))
    content = _read(path, trust_pickle)
    if isinstance(content, torch.nn.Module):
        return Loaded(model=content, inputs=_examples(inputs, arch))
    if not arch:
        raise LoadError(f"{path.name} holds weights without an architecture",
                        hint="name a factory: --arch package.module:factory")
    return Loaded(model=_filled(resolve(arch), content, path), inputs=_examples(inputs, arch))


def load_program(path: Path) -> ExportedProgram:
    """Read a ``.pt2`` program.

    Raises:
        LoadError: if it isn't one, or carries no example inputs.
    """
    try:
        with path.open("rb") as file:
            program = torch.export.load(file)
    except (RuntimeError, ValueError, KeyError, OSError, AssertionError) as error:
        raise LoadError(f"{path.name} is not a readable exported program: {error}") from error
    if program.example_inputs is None:
        raise LoadError(f"{path.name} carries no example inputs",
                        hint="export it again with torch.export.export and torch.export.save")
    return program


def _is_program(path: Path) -> bool:
    """Whether the file is a torch.export archive: a zip with ``archive_format`` ``pt2``."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("archive_format") for name in archive.namelist())


def _read(path: Path, trust_pickle: bool) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except pickle.UnpicklingError as error:
        raise LoadError(
            f"{path.name} holds pickled Python objects, and reading them runs code",
            hint="if you trust where it comes from, pass --trust-pickle; safer: save a state "
            "dict and pass --arch, or save a .pt2 with torch.export.save",
        ) from error
    except (RuntimeError, EOFError, ValueError, OSError, AttributeError, ImportError,
            LookupError, TypeError) as error:
        raise LoadError(f"{path.name} can't be read as a model: {first_line(error)}") from error


def _filled(build: Callable[[], torch.nn.Module], content: Any, path: Path) -> torch.nn.Module:
    model = build()
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping):
        raise LoadError(f"{path.name} holds a {type(content).__name__}, not a state dict")
    try:
        model.load_state_dict(dict(state))
    except (RuntimeError, TypeError) as error:
        raise LoadError(f"{path.name} doesn't fit {type(model).__name__}: {first_line(error)}",
                        hint="check --arch") from error
    return model


def resolve(name: str) -> Callable[..., Any]:
    """The object behind ``package.module:attribute``.

    Raises:
        LoadError: if there is none, or it isn't callable.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise LoadError(f"{name!r} is not of the form package.module:factory")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise LoadError(f"can't find {name}: {error}") from error
    if not callable(found):
        raise LoadError(f"{name} is not callable")
    return found


def _examples(inputs: Sequence[str], arch: str) -> tuple[Any, ...]:
    if inputs:
        return tuple(parse_input(text) for text in inputs)
    if arch:
        module = importlib.import_module(arch.partition(":")[0])
        make: Callable[[], Sequence[Any]] | None = getattr(module, "example_inputs", None)
        if make is not None:
            return tuple(make())
    raise LoadError("the shape of the inputs is not known",
                    hint="pass --input 1x3x224x224, once for each input")


def parse_input(text: str) -> torch.Tensor:
    """A random tensor of a shape written as ``1x3x32x32`` or ``1x128:int64``.

    Raises:
        LoadError: if it isn't written like that.
    """
    sizes, _, dtype = text.partition(":")
    parts = sizes.lower().split("x")
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise LoadError(f"can't read {text!r} as an input shape",
                        hint="write 1x3x224x224, or 1x128:int64")
    if (kind := _DTYPES.get(dtype or "float32")) is None:
        raise LoadError(f"unknown dtype {dtype!r}", hint=f"one of {', '.join(_DTYPES)}")
    shape = [int(part) for part in parts]
    generator = torch.Generator().manual_seed(0)
    if kind.is_floating_point:
        return torch.randn(shape, generator=generator).to(kind)
    return torch.randint(0, 2, shape, generator=generator).to(kind)
