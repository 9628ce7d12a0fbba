"""Docstrings of what is public: a first line that says something to a reader from outside."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sources import ROOT, files, module_of, parsed

LEAST = 4
"""Words in the first line."""

Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@pytest.mark.parametrize("path", files(), ids=module_of)
def test_first_lines_are_sentences(path: Path) -> None:
    short = [f"{where}: {line!r}" for where, line in first_lines(path) if len(line.split()) < LEAST]
    assert not short, "\n".join(short)


def first_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Place and first line of the docstrings of a module's public classes and functions."""
    tree = parsed(path)
    public = {name for node in tree.body for name in _listed(node)}
    for node in tree.body:
        if isinstance(node, Documented) and node.name in public:
            text = ast.get_docstring(node) or ""
            line = text.splitlines()[0] if text else ""
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", line


def _listed(node: ast.stmt) -> list[str]:
    """The names of ``__all__``, if that is what a statement says."""
    if isinstance(node, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
    ):
        return list(ast.literal_eval(node.value))
    return []
