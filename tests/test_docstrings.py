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
    """Place and first line of the docstrings of what is public in a module, methods included.

    Names in ``__all__`` must have one; others may do without.
    """
    tree = parsed(path)
    listed = {name for node in tree.body for name in _listed(node)}
    for node in _public(tree):
        text = ast.get_docstring(node) or ""
        if text or (node in tree.body and node.name in listed):
            line = text.splitlines()[0] if text else ""
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", line


def _public(inside: ast.Module | ast.ClassDef) -> Iterator[Documented]:
    for node in inside.body:
        if (
            isinstance(node, Documented)
            and not node.name.startswith("_")
            and not any(isinstance(d, ast.Name) and d.id == "overload" for d in node.decorator_list)
        ):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node)


def _listed(node: ast.stmt) -> list[str]:
    """The names of ``__all__``, if that is what a statement says."""
    if isinstance(node, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
    ):
        return list(ast.literal_eval(node.value))
    return []
