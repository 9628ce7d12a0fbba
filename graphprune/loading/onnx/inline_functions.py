"""Inline the functions that an ONNX model defines, unless written out they are far too large."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from graphprune.errors import LoadError

if TYPE_CHECKING:
    import onnx

__all__ = ["MAX_NODES", "inline_functions"]

MAX_NODES = 1 << 20
"""Most calls in a graph, after local functions are inlined."""


def inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace calls of a model's own functions by what these call.

    Raises:
        LoadError: if a function is defined twice or calls itself, or if that makes far too many calls.
    """
    if not model.functions:
        return model
    from onnx import inliner

    bodies = {(f.domain, f.name): [(n.domain, n.op_type) for n in f.node] for f in model.functions}
    if len(bodies) < len(model.functions):
        raise LoadError("a local function is defined twice")
    sizes: dict[tuple[str, str], int] = {}

    def size(calls: Iterable[tuple[str, str]], open_: frozenset[tuple[str, str]]) -> int:
        total = 0
        for call in calls:
            if call in open_ or len(open_) > 100:
                raise LoadError(f"the local function {call[1]!a:.80} calls itself")
            if call in bodies and call not in sizes:
                sizes[call] = size(bodies[call], open_ | {call})
            total += sizes.get(call, 1)
        return total

    if size([(n.domain, n.op_type) for n in model.graph.node], frozenset()) > MAX_NODES:
        raise LoadError(f"written out, the local functions are more than {MAX_NODES} calls")
    return inliner.inline_local_functions(model)
