"""Text that comes with every Python: docstrings of the standard library, and its help topics."""

from __future__ import annotations

import ast
import random
import sysconfig
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["chunks", "documents", "split"]

_SHORTEST = 80
"""Fewest characters of a document."""

_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


def documents() -> list[str]:
    """Collect the documents, each once: in the order of the files, topics last. ASCII only."""
    root = Path(sysconfig.get_path("stdlib"))
    found: dict[str, None] = {}
    for path in sorted(root.rglob("*.py")):
        if _LEFT_OUT.isdisjoint(path.relative_to(root).parts):
            found.update(dict.fromkeys(_docstrings(path)))
    topics: dict[str, str] = import_module("pydoc_data.topics").topics
    found.update(dict.fromkeys(_ascii(text) for text in topics.values()))
    return [text for text in found if len(text) >= _SHORTEST]


def split(
    texts: Sequence[str], held_out: float = 0.1, seed: int = 0
) -> tuple[list[str], list[str]]:
    """Divide documents into those to train on and those held out, in an order drawn by the seed.

    Args:
        texts: the documents.
        held_out: share of them that is held out.
        seed: of the order.
    """
    order = list(texts)
    random.Random(seed).shuffle(order)
    aside = round(len(order) * held_out)
    return order[aside:], order[:aside]


def chunks(texts: Sequence[str], length: int) -> Tensor:
    """Join documents, and cut them into rows of characters `[n, length]`, numbers below 128."""
    joined = torch.frombuffer(bytearray("\n\n".join(texts).encode("ascii")), dtype=torch.uint8)
    return joined[: len(joined) // length * length].view(-1, length).long()


def _docstrings(path: Path) -> list[str]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError):  # files for other versions, or in another encoding
        return []
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return [_ascii(ast.get_docstring(node) or "") for node in nodes]


def _ascii(text: str) -> str:
    return text.encode("ascii", "ignore").decode("ascii")
