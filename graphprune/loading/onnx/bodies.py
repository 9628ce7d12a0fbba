"""Bodies of If, Loop and Scan: names made unique, stored tensors moved to the graph itself.

Two branches may use one name for different things. Once all names differ, a body can be run on the
values of the graph around it, and its weights are weights of the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from graphprune.export.node_reads import graphs_of

from .operators import Body, Node

if TYPE_CHECKING:
    import onnx

__all__ = ["all_nodes", "bodies_of", "hoist", "inner_nodes", "live_nodes"]


def bodies_of(node: Node) -> list[Body]:
    """List the bodies of a call, such as the branches of an If."""
    return [value for value in node.attributes.values() if isinstance(value, Body)]


def all_nodes(nodes: Iterable[Node]) -> Iterator[Node]:
    """Iterate over calls, and over those of their bodies after each."""
    for node in nodes:
        yield node
        for body in bodies_of(node):
            yield from all_nodes(body.nodes)


def inner_nodes(nodes: Iterable[Node]) -> Iterator[Node]:
    """Iterate over the calls of all bodies, in the order of ``export.node_reads.inner_nodes``."""
    for node in nodes:
        for body in bodies_of(node):
            yield from all_nodes(body.nodes)


def live_nodes(nodes: Sequence[Node], outputs: Iterable[str]) -> frozenset[int]:
    """List the positions of the calls that lead to some values.

    Args:
        nodes: each after those that it reads.
        outputs: names of the values.
    """
    needed, found = set(outputs), set[int]()
    for position in reversed(range(len(nodes))):
        if not needed.isdisjoint(filter(None, nodes[position].outputs)):
            found.add(position)
            for inner in all_nodes([nodes[position]]):
                needed.update(inner.inputs, *(body.outputs for body in bodies_of(inner)))
    return frozenset(found)


def hoist(graph: onnx.GraphProto) -> None:
    """Rename what bodies define so that no name is used twice, and move their tensors to the graph."""
    taken = {value.name for value in (*graph.input, *graph.initializer)}
    taken |= {name for node in graph.node for name in node.output}
    for node in graph.node:
        for body in graphs_of(node):
            _hoist_body(body, {}, taken, graph)


def _hoist_body(
    body: onnx.GraphProto, outer: dict[str, str], taken: set[str], graph: onnx.GraphProto
) -> None:
    names = dict(outer)
    own = [value.name for value in (*body.input, *body.initializer)]
    own += [name for node in body.node for name in node.output if name]
    for name in dict.fromkeys(own):
        names[name] = _free(name, taken)
    for value in (*body.input, *body.initializer, *body.output, *body.value_info):
        value.name = names.get(value.name, value.name)
    for node in body.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for inner in graphs_of(node):
            _hoist_body(inner, names, taken, graph)
    graph.initializer.extend(body.initializer)
    del body.initializer[:]


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}__{number}"
    taken.add(free)
    return free
