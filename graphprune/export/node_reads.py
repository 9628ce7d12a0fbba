"""What a node of an ONNX graph reads, with the graphs that it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

__all__ = ["graphs_of", "reads_in_bodies", "reads_of"]


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
