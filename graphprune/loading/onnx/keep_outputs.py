"""Leave outputs out of an ONNX model, and the nodes and tensors that only they need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graphprune.export.node_reads import needed_for
from graphprune.ir.output_paths import chosen

if TYPE_CHECKING:
    import onnx

__all__ = ["keep_outputs"]


def keep_outputs(model: onnx.ModelProto, names: Sequence[str]) -> tuple[str, ...]:
    """Remove all outputs of a model but some, in place, with what only they need. Its inputs stay.

    Args:
        model: without local functions.
        names: of the outputs that stay.

    Returns:
        The names of those that went.

    Raises:
        OptionError: if there is no such output.
    """
    graph = model.graph
    every = [value.name for value in graph.output]
    kept = {every[number] for number in chosen(every, names)}
    needed = needed_for(graph.node, kept)
    stored = {tensor.name for tensor in graph.initializer}
    _keep(graph.node, [not needed.isdisjoint(node.output) for node in graph.node])
    _keep(graph.output, [value.name in kept for value in graph.output])
    _keep(graph.input, [v.name in needed or v.name not in stored for v in graph.input])
    _keep(graph.initializer, [tensor.name in needed for tensor in graph.initializer])
    _keep(graph.value_info, [value.name in needed for value in graph.value_info])
    return tuple(name for name in every if name not in kept)


def _keep(field: object, stay: Sequence[bool]) -> None:
    """Keep some entries of a repeated field."""
    for place in reversed(range(len(stay))):
        if not stay[place]:
            del field[place]  # type: ignore[attr-defined]
