"""Compute ONNX operators on sequences of tensors whose lengths are known while the graph is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch

from graphprune.errors import LoadError

from .concat_slice import concat, split
from .operators import Node, operator
from .shapes import squeeze, unsqueeze
from .values import Known, Value, integers, known, tensor

__all__ = ["Tensors"]


@dataclass(frozen=True, eq=False)
class Tensors:
    """A sequence, as ``SplitToSequence`` makes it.

    Attributes:
        values: in order.
    """

    values: tuple[Value, ...]


def _values(node: Node, given: Any) -> list[Value]:
    """List the values of a sequence.

    Raises:
        LoadError: if it is none.
    """
    if not isinstance(given, Tensors):
        raise LoadError(f"{node} reads a sequence that isn't known before the model runs")
    return list(given.values)


def _place(node: Node, position: Value, count: int) -> int:
    place = int(integers(node, position, "the position")[0])
    if not -count <= place <= count:
        raise LoadError(f"{node} reads position {place} of {count}")
    return place


@operator("SequenceEmpty")
def empty(node: Node) -> Tensors:
    """Make a sequence of nothing."""
    return Tensors(())


@operator("SequenceConstruct")
def construct(node: Node, *values: Value) -> Tensors:
    """Make a sequence of some values."""
    return Tensors(values)


@operator("SplitToSequence", sizes=(1,))
def split_to_sequence(node: Node, x: Value, parts: Value | None = None) -> Tensors:
    """Split a tensor into parts of given sizes, or of one size but for the last; without, into single rows."""
    axis = node.get("axis", 0)
    whole = int((x if isinstance(x, torch.Tensor) else x.items).shape[axis])
    sizes = [1] if parts is None else [int(n) for n in integers(node, parts, "sizes")]
    if parts is None or (isinstance(parts, Known) and not parts.items.ndim):
        each = sizes[0]
        sizes = [min(each, whole - start) for start in range(0, whole, each)]
    found = cast("tuple[Value, ...]", split(node, x, known(sizes)))
    if parts is None and not node.get("keepdims", 1):
        found = tuple(squeeze(node, part, known([axis])) for part in found)
    return Tensors(found)


@operator("SequenceAt", sizes=(1,))
def at(node: Node, sequence: Any, position: Value) -> Value:
    """Take the value at a position, from the end if it is negative."""
    values = _values(node, sequence)
    return values[_place(node, position, len(values))]


@operator("SequenceInsert", sizes=(2,))
def insert(node: Node, sequence: Any, value: Value, position: Value | None = None) -> Tensors:
    """Insert a value before a position, or at the end."""
    values = _values(node, sequence)
    place = len(values) if position is None else _place(node, position, len(values))
    return Tensors((*values[:place], value, *values[place:]))


@operator("SequenceErase", sizes=(1,))
def erase(node: Node, sequence: Any, position: Value | None = None) -> Tensors:
    """Leave a value out, by default the last."""
    values = _values(node, sequence)
    del values[-1 if position is None else _place(node, position, len(values))]
    return Tensors(tuple(values))


@operator("SequenceLength")
def length(node: Node, sequence: Any) -> Value:
    """Count the values of a sequence."""
    return known(len(_values(node, sequence)))


@operator("ConcatFromSequence")
def concat_from_sequence(node: Node, sequence: Any) -> Value:
    """Concatenate the values of a sequence along an axis, which may be a new one."""
    values = _values(node, sequence)
    if node.get("new_axis", 0):
        values = [unsqueeze(node, tensor(x), known([node.get("axis")])) for x in values]
    return concat(node, *values)
