"""Take nodes that lead to no output out of an ONNX file, where they read what is cut.

A program has no such nodes, so no rule says what a cut makes of them, but onnxruntime runs them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from graphprune.export.node_reads import reads_of

if TYPE_CHECKING:
    import onnx

__all__ = ["drop_dead"]


def drop_dead(graph: onnx.GraphProto, changed: Collection[str]) -> None:
    """Remove nodes in place that lead to no output and read values of other sizes than before, and those behind them.

    Args:
        graph: its nodes, each after those that it reads.
        changed: names of the values that a cut changes.
    """
    live = {value.name for value in graph.output}
    dead: list[bool] = []
    for node in reversed(graph.node):
        dead.append(live.isdisjoint(node.output))
        if not dead[-1]:
            live.update(reads_of(node))
    reached, gone = set(changed), list[int]()
    for place, (node, is_dead) in enumerate(zip(graph.node, reversed(dead), strict=True)):
        if is_dead and not reached.isdisjoint(reads_of(node)):
            reached.update(node.output)
            gone.append(place)
    for place in reversed(gone):
        del graph.node[place]
