"""Take nodes that lead to no output out of an ONNX file, where they read what is cut.

A program has no such nodes, so no rule says what a cut makes of them, but onnxruntime runs them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from graphprune.export.node_reads import needed_for, reads_of

if TYPE_CHECKING:
    import onnx

__all__ = ["drop_dead"]


def drop_dead(graph: onnx.GraphProto, changed: Collection[str]) -> None:
    """Remove nodes in place that lead to no output and read values of other sizes than before, and those behind them.

    Args:
        graph: its nodes, each after those that it reads.
        changed: names of the values that a cut changes.
    """
    live = needed_for(graph.node, (value.name for value in graph.output))
    reached, gone = set(changed), list[int]()
    for place, node in enumerate(graph.node):
        if live.isdisjoint(node.output) and not reached.isdisjoint(reads_of(node)):
            reached.update(node.output)
            gone.append(place)
    for place in reversed(gone):
        del graph.node[place]
