"""What a node of an ONNX graph reads, with the graphs that it holds; walks over all nodes of a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

__all__ = [
    "every_node",
    "graphs_of",
    "inner_nodes",
    "needed_for",
    "nodes_of",
    "reads_in_bodies",
    "reads_of",
]


def graphs_of(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """List the graphs that a call holds."""
    return [g for a in node.attribute for g in ([a.g] if a.HasField("g") else a.graphs)]


def reads_of(node: onnx.NodeProto) -> list[str]:
    """List the names that a call reads, those that its graphs read included."""
    return [*filter(None, node.input), *reads_in_bodies(node)]


def reads_in_bodies(node: onnx.NodeProto) -> list[str]:
    """List the names that the graphs of a call read, and those that they give."""
    found: list[str] = []
    for body in graphs_of(node):
        found += [value.name for value in body.output]
        for inner in body.node:
            found += reads_of(inner)
    return found


def needed_for(nodes: Sequence[onnx.NodeProto], names: Iterable[str]) -> set[str]:
    """List all that some values are computed from, themselves included.

    Args:
        nodes: each after those that it reads.
        names: of the values.
    """
    found = set(names)
    for node in reversed(nodes):
        if not found.isdisjoint(node.output):
            found.update(reads_of(node))
    return found


def every_node(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Iterate over nodes, and over those of their bodies after each."""
    for node in nodes:
        yield node
        for body in graphs_of(node):
            yield from every_node(body.node)


def inner_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Iterate over the nodes of all bodies that some nodes hold."""
    for node in nodes:
        for body in graphs_of(node):
            yield from every_node(body.node)


def nodes_of(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Iterate over all nodes of a model: of its graph, its functions, and all bodies in these."""
    return every_node(chain(model.graph.node, *(function.node for function in model.functions)))
