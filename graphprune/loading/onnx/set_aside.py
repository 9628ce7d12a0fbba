"""Set outputs aside that no program can have: text, maps and sequences, and what depends on no input."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import TYPE_CHECKING

from graphprune.export.aside import Aside
from graphprune.export.node_reads import needed_for, reads_of
from graphprune.export.onnx_model import drop_initializers
from graphprune.export.onnx_shapes import infer_onnx_shapes

if TYPE_CHECKING:
    import onnx

__all__ = ["set_aside"]

_TEXT = 8
"""ONNX's number of the element type of strings."""


def set_aside(model: onnx.ModelProto) -> Aside | None:
    """Take such outputs out of a model, in place, with the nodes behind the last tensor of numbers.

    Args:
        model: without local functions.

    Returns:
        What was taken out; ``None`` if that is nothing, or if no number goes there, or if a stored tensor belongs to both sides.
    """
    graph = model.graph
    fixed = _independent(graph)
    odd = {v.name for v in graph.output if not _is_numeric(v)}
    taken = odd | {value.name for value in graph.output if value.name in fixed}
    if not taken:
        return None
    nodes = list(graph.node)
    places = _behind(model, nodes, odd)
    tail = [nodes[place] for place in sorted(places)]
    live = [node for place, node in enumerate(nodes) if place not in places]
    moved = [node for node in live if not fixed.issuperset(filter(None, node.output))]
    stored = {tensor.name: tensor for tensor in graph.initializer}
    needed = {name for node in tail for name in reads_of(node)}
    cone = needed_for(nodes, taken & fixed) | {n for n in needed if n in stored}
    if not cone.isdisjoint(name for node in moved for name in reads_of(node)):
        return None
    kept = [value for value in graph.output if value.name not in taken]
    made = {name for node in moved for name in node.output if name}
    border = sorted((needed & made) - {value.name for value in kept})
    if not kept and not border:
        return None
    aside = Aside(
        names=tuple(value.name for value in graph.output if value.name in taken),
        nodes=tuple(node.SerializeToString() for node in tail),
        outputs=tuple(value.SerializeToString() for value in graph.output),
        tensors=tuple(stored[n].SerializeToString() for n in sorted(cone & stored.keys())),
        opsets=tuple((each.domain, each.version) for each in model.opset_import),
        apart=tuple(n.SerializeToString() for n in live if not cone.isdisjoint(n.output)),
    )
    outputs = [copy.deepcopy(value) for value in kept]
    del graph.output[:]
    graph.output.extend(outputs)
    for name in border:
        graph.output.add(name=name)
    for place in sorted(places, reverse=True):
        del graph.node[place]
    _drop_tensors(graph, needed & stored.keys())
    return aside


def _drop_tensors(graph: onnx.GraphProto, names: Collection[str]) -> None:
    """Take stored tensors out that no node reads now, such as labels as text; those that are inputs too stay."""
    read = {name for node in graph.node for name in reads_of(node)}
    read |= {value.name for value in (*graph.input, *graph.output)}
    drop_initializers(graph, set(names) - read)


def _is_numeric(value: onnx.ValueInfoProto) -> bool:
    """Whether a value is a tensor of numbers, or states no type."""
    if not value.HasField("type"):
        return True
    kind = value.type
    return kind.HasField("tensor_type") and kind.tensor_type.elem_type != _TEXT


def _independent(graph: onnx.GraphProto) -> set[str]:
    """Find the values that depend on no input."""
    stored = {tensor.name for tensor in graph.initializer}
    moving = {value.name for value in graph.input} - stored
    fixed = set(stored)
    for node in graph.node:
        if moving.isdisjoint(reads_of(node)):
            fixed.update(filter(None, node.output))
        else:
            moving.update(filter(None, node.output))
    return fixed


def _behind(model: onnx.ModelProto, nodes: list[onnx.NodeProto], odd: set[str]) -> set[int]:
    """Find the places of the nodes that lead to odd outputs alone, from the last tensors of numbers on."""
    if not odd:
        return set()
    inferred = infer_onnx_shapes(model)
    numeric = {v.name for v in inferred.graph.value_info if v.HasField("type") and _is_numeric(v)}
    outputs = {value.name for value in model.graph.output}
    readers: dict[str, set[int]] = {}
    for place, node in enumerate(nodes):
        for name in reads_of(node):
            readers.setdefault(name, set()).add(place)
    found: set[int] = set()
    for place in reversed(range(len(nodes))):
        made = [name for name in nodes[place].output if name]
        ends = all(name in odd or name not in outputs for name in made)
        text = any(name in odd or name not in numeric for name in made)
        read = set[int]().union(*(readers.get(name, set()) for name in made))
        if ends and text and read <= found and (read or not odd.isdisjoint(made)):
            found.add(place)
    return found
