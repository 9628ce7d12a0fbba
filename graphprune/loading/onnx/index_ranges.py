"""Find the inputs of an ONNX graph that number the rows of stored tables, such as token ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bodies import all_nodes
from .operators import Node
from .read_graph import Graph

__all__ = ["index_ranges"]

_HANDS_ON = frozenset({
    "Cast", "Expand", "Flatten", "Identity", "Reshape", "Squeeze", "Tile", "Transpose", "Unsqueeze",
})  # fmt: skip
"""Operators after which a value still numbers the same rows."""


def index_ranges(graph: Graph) -> dict[str, int]:
    """Map the inputs that number rows to how many rows the smallest of their tables has.

    A table is looked up by Gather, or by a product with what the numbers equal (one-hot).
    """
    source = {each.name: each.name for each in graph.inputs}
    stored: dict[str, NDArray[Any]] = dict(graph.weights)
    rows: dict[str, int] = {}
    for node in all_nodes(graph.nodes):
        if node.operator == "Constant":
            value = node.attributes.get("value")
            stored |= {node.outputs[0]: value} if isinstance(value, np.ndarray) else {}
        elif node.operator in _HANDS_ON:
            given, made = node.inputs[0], node.outputs[0]
            source |= {made: source[given]} if given in source else {}
            stored |= {made: stored[given]} if given in stored else {}
        for index, count in _lookups(node, stored):
            if name := source.get(index):
                rows[name] = min(rows.get(name, count), count)
    return rows


def _lookups(node: Node, stored: dict[str, NDArray[Any]]) -> Iterator[tuple[str, int]]:
    """List what a node may take for numbers of rows, each with how many rows there are."""
    if node.operator == "Gather" and node.inputs[0] in stored:
        sizes, axis = stored[node.inputs[0]].shape, int(node.get("axis", 0))
        if -len(sizes) <= axis < len(sizes):
            yield node.inputs[1], max(sizes[axis], 1)
    if node.operator == "Equal":
        for index, table in (node.inputs, reversed(node.inputs)):
            if table in stored and stored[table].size and stored[table].dtype.kind in "iu":
                yield index, max(int(stored[table].max()) + 1, 1)
