"""What the package offers: every module says what is public, and what users import is listed."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any

import pytest

import graphprune
import graphprune.errors
import graphprune.passes
from tests.golden_files import check_golden
from tests.sources import ROOT, files, module_of, parsed

OFFERED = (graphprune, graphprune.passes, graphprune.errors)
"""Modules whose public names are promised."""


def modules() -> list[str]:
    """All modules but those that are run, and packages whose file is a docstring and nothing else."""
    return [
        module_of(path)
        for path in files()
        if path.name != "__main__.py" and len(parsed(path).body) > 1
    ]


def test_the_walk_finds_the_whole_package() -> None:
    """Folders that are links included."""
    assert {"graphprune", "graphprune.passes.prune.merge", "graphprune.models.vit"} <= {*modules()}
    assert (ROOT / "graphprune" / "passes").is_symlink()


@pytest.mark.parametrize("name", modules())
def test_a_module_says_what_is_public_and_has_it(name: str) -> None:
    module = import_module(name)
    offered = list(module.__all__)
    assert len(offered) == len(set(offered))
    assert not [each for each in offered if not hasattr(module, each)]
    assert not [each for each in offered if each.startswith("_") and not each.endswith("__")]


@pytest.mark.parametrize("module", OFFERED, ids=lambda module: module.__name__)
def test_a_star_import_brings_what_is_listed(module: ModuleType) -> None:
    brought: dict[str, object] = {}
    exec(f"from {module.__name__} import *", brought)
    assert {*module.__all__} == {*brought} - {"__builtins__"}


def test_public_names_change_on_purpose() -> None:
    lines = [line for module in OFFERED for line in listing(module)]
    check_golden("public_names.txt", "\n".join(lines) + "\n")


def listing(module: ModuleType) -> Iterator[str]:
    """The names of a module; of the package itself with the arguments of its functions."""
    for name in sorted(module.__all__):
        value = getattr(module, name)
        yield f"{module.__name__}.{name}"
        if module is graphprune and isinstance(value, FunctionType):
            signature = inspect.signature(value)
            yield from (f"    {argument(each)}" for each in signature.parameters.values())
            yield f"    -> {signature.return_annotation}"


def argument(parameter: inspect.Parameter) -> str:
    """An argument as it is written; of a default that is a function only that there is one."""
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    named = "by name " if parameter.kind == parameter.KEYWORD_ONLY else ""
    default: Any = parameter.default
    shown = "..." if callable(default) else repr(default)
    value = "" if default is parameter.empty else f" = {shown}"
    return f"{named}{stars}{parameter.name}: {parameter.annotation}{value}"
