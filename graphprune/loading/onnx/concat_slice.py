"""Compute ONNX operators that concatenate, part, repeat or pick rows: Concat, Split, Slice, Gather."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .operators import Node, operator, refuse
from .shapes import shape_of
from .values import MAX_ELEMENTS, MAX_KNOWN, Known, Value, integers, tensor

__all__ = ["concat", "from_the_start", "gather", "split"]


@operator("Concat")
def concat(node: Node, *inputs: Value) -> Value:
    """Concatenate values along one axis."""
    axis = node.get("axis", 1)
    if all(isinstance(x, Known) for x in inputs):
        items = np.concatenate([x.items for x in inputs if isinstance(x, Known)], axis)
        return Known(items, inputs[0].dtype)
    return torch.cat([tensor(x) for x in inputs], axis)


@operator("Split", sizes=(1,))
def split(node: Node, x: Value, parts: Value | None = None) -> tuple[Value, ...]:
    """Split into parts of given sizes, or into as many as there are outputs."""
    axis, whole = node.get("axis", 0), shape_of(x)[node.get("axis", 0)]
    sizes = integers(node, parts, "sizes") if parts is not None else node.get("split")
    if sizes is None:
        count = len(node.outputs)
        if node.get("num_outputs", count) != count:
            raise refuse(node, "another number of outputs than are named")
        each = -(-int(whole) // count)
        sizes = [min(each, int(whole) - each * i) for i in range(count)]
    if isinstance(x, Known):
        cuts = np.cumsum([int(n) for n in sizes])[:-1]
        return tuple(Known(part, x.dtype) for part in np.split(x.items, cuts, axis))
    return torch.split(x, list(sizes), axis)


@operator("Slice", sizes=(1, 2, 3, 4))
def slice_(node: Node, x: Value, *rest: Value | None) -> Value:
    """Take ranges of some axes, which are inputs since opset 10, attributes before."""
    given = [
        None if v is None else integers(node, v, "a range")
        for v in (*rest, None, None, None, None)[:4]
    ]
    starts, ends = given[0] or node.get("starts"), given[1] or node.get("ends")
    axes = given[2] or node.get("axes") or list(range(len(starts)))
    steps = given[3] or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if isinstance(x, Known):
            where = [slice(None)] * x.items.ndim
            where[axis] = slice(start, None if step < 0 and end < -(2**31) else end, step)
            x = Known(x.items[tuple(where)], x.dtype)
        elif step < 0:
            x = _backwards(node, x, axis, slice(start, end, step))
        else:
            where = [slice(None)] * x.dim()
            beyond = isinstance(end, int) and end >= MAX_ELEMENTS
            where[axis] = slice(start, None if beyond else end, step)
            x = x[tuple(where)]
    return x


def _backwards(node: Node, x: torch.Tensor, axis: int, range_: slice) -> torch.Tensor:
    """Take a range whose step is negative, of an axis of any size if it is all of it."""
    start, end, size = range_.start, range_.stop, x.shape[axis]
    beyond = isinstance(end, int) and end <= -(2**31)
    if range_.step == -1 and beyond and start in {-1, 2**63 - 1}:
        return x.flip(axis)
    if not all(isinstance(n, int) for n in (start, end, size)):
        raise refuse(node, "a range backwards, other than all of it, of an axis of unknown size,")
    # Before the first row lies none: an end there is no number that Python counts from the last.
    rows = range(size)[slice(start, None if end < -size else end, range_.step)]
    return x.index_select(axis, torch.tensor(rows, dtype=torch.int64))


@operator("Gather")
def gather(node: Node, x: Value, indices: Value) -> Value:
    """Take entries of one axis, in the shape of the indices."""
    axis = node.get("axis", 0)
    if isinstance(x, Known) and isinstance(indices, Known):
        each = x.items.size // max(x.items.shape[axis], 1)
        if each * indices.items.size > MAX_KNOWN:
            raise refuse(node, "a choice of so many constants")
        places = np.asarray(indices.items, dtype=np.int64)
        return Known(np.asarray(np.take(x.items, places, axis), dtype=object), x.dtype)
    value = tensor(x)
    axis = axis + value.dim() if axis < 0 else axis
    if isinstance(indices, Known) and indices.items.size == 1 and not indices.symbolic:
        index = int(indices.scalar)
        if indices.items.ndim == 0:
            return value.select(axis, index)
        if indices.items.ndim == 1:
            return value.narrow(axis, index % int(value.shape[axis]), 1)
    places = from_the_start(indices, value.shape[axis])
    if axis == 0 and value.dim() == 2 and isinstance(x, torch.nn.Parameter):
        return F.embedding(places, value)
    if places.dim() == 1:
        return value.index_select(axis, places)
    return value[(slice(None),) * axis + (places,)]


@operator("GatherElements")
def gather_elements(node: Node, x: Value, indices: Value) -> torch.Tensor:
    """Take one element for each index, along one axis."""
    value, axis = tensor(x), node.get("axis", 0)
    return torch.gather(value, axis, from_the_start(indices, value.shape[axis]))


def from_the_start(indices: Value, size: Any) -> torch.Tensor:
    """Convert indices to a tensor; known ones that count from the end of an axis count from its start then.

    Args:
        indices: what is read.
        size: of the axis.
    """
    if isinstance(indices, Known) and not indices.symbolic and (indices.items < 0).any():
        items = np.where(indices.items < 0, indices.items + size, indices.items)
        return tensor(Known(items, indices.dtype))
    return tensor(indices)


@operator("Tile", sizes=(1,))
def tile(node: Node, x: Value, repeats: Value) -> torch.Tensor:
    """Repeat a value along each axis."""
    return tensor(x).repeat(integers(node, repeats, "the number of repeats"))
