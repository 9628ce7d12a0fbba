"""Compute ONNX operators on sizes, and those that move elements without computing on them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .operators import Node, operator, refuse
from .values import MAX_ELEMENTS, MAX_KNOWN, Known, Value, axes_of, floats, integers, known, tensor

__all__ = ["concat", "split", "squeeze", "unsqueeze"]


def _shape(x: Value) -> list[Any]:
    return list(x.items.shape if isinstance(x, Known) else x.shape)


@operator("Shape")
def shape(node: Node, x: Value) -> Known:
    """Return the sizes of a value, or a slice of them."""
    return known(_shape(x)[node.get("start", 0) : node.get("end")])


@operator("Size")
def size(node: Node, x: Value) -> Known:
    """Count the elements of a value."""
    return known(math.prod(_shape(x)))


@operator("Reshape", sizes=(1,))
def reshape(node: Node, x: Value, to: Value) -> Value:
    """Give a value a new shape; ``0`` copies a size, ``-1`` is what is left."""
    sizes = integers(node, to, "the new shape")
    if not node.get("allowzero", 0):
        old = _shape(x)
        sizes = [old[i] if isinstance(n, int) and n == 0 else n for i, n in enumerate(sizes)]
    if isinstance(x, Known) and all(isinstance(n, int) for n in sizes):
        return Known(x.items.reshape(sizes), x.dtype)
    return tensor(x).reshape(sizes)


@operator("Flatten")
def flatten(node: Node, x: Value) -> torch.Tensor:
    """Flatten a value to two axes."""
    value = tensor(x)
    axis = node.get("axis", 1)
    axis = axis + value.dim() if axis < 0 else axis
    if axis == 1:
        return value.flatten(1) if value.dim() > 1 else value.unsqueeze(1)
    return value.reshape(math.prod(value.shape[:axis]), math.prod(value.shape[axis:]))


@operator("Transpose")
def transpose(node: Node, x: Value) -> Value:
    """Permute the axes; by default, reverse them."""
    order = node.get("perm", list(reversed(range(len(_shape(x))))))
    if isinstance(x, Known):
        return Known(x.items.transpose(order), x.dtype)
    return x.permute(order)


@operator("Squeeze", sizes=(1,))
def squeeze(node: Node, x: Value, axes: Value | None = None) -> Value:
    """Remove axes of size 1."""
    chosen = axes_of(node, axes)
    if isinstance(x, Known):
        return Known(x.items.squeeze(None if chosen is None else tuple(chosen)), x.dtype)
    if chosen is None:
        sizes: list[Any] = list(x.shape)
        chosen = [i for i, n in enumerate(sizes) if isinstance(n, int) and n == 1]
    return x.squeeze(chosen)


@operator("Unsqueeze", sizes=(1,))
def unsqueeze(node: Node, x: Value, axes: Value | None = None) -> Value:
    """Insert axes of size 1, at these places of the result."""
    chosen = axes_of(node, axes) or []
    rank = len(_shape(x)) + len(chosen)
    places = sorted(axis % rank for axis in chosen)
    if isinstance(x, Known):
        return Known(np.expand_dims(x.items, tuple(places)), x.dtype)
    for place in places:
        x = x.unsqueeze(place)
    return x


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
    axis, whole = node.get("axis", 0), _shape(x)[node.get("axis", 0)]
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
            if (
                step != -1
                or not isinstance(end, int)
                or end > -(2**31)
                or start not in {-1, 2**63 - 1}
            ):
                raise refuse(node, "a range backwards, other than all of it,")
            x = x.flip(axis)
        else:
            where = [slice(None)] * x.dim()
            beyond = isinstance(end, int) and end >= MAX_ELEMENTS
            where[axis] = slice(start, None if beyond else end, step)
            x = x[tuple(where)]
    return x


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
    places = tensor(indices)
    if axis == 0 and value.dim() == 2 and isinstance(x, torch.nn.Parameter):
        return F.embedding(places, value)
    if places.dim() == 1:
        return value.index_select(axis, places)
    return value[(slice(None),) * axis + (places,)]


@operator("GatherElements")
def gather_elements(node: Node, x: Value, indices: Value) -> torch.Tensor:
    """Take one element for each index, along one axis."""
    return torch.gather(tensor(x), node.get("axis", 0), tensor(indices))


@operator("Expand", sizes=(1,))
def expand(node: Node, x: Value, to: Value) -> Value:
    """Broadcast to a shape; a size of 1 there keeps the old one."""
    sizes = integers(node, to, "the new shape")
    old = _shape(x)
    old = [1] * (len(sizes) - len(old)) + old
    new: list[Any] = [1] * (len(old) - len(sizes)) + sizes
    wanted = [a if isinstance(n, int) and n == 1 else n for a, n in zip(old, new, strict=True)]
    if isinstance(x, Known):
        if all(isinstance(n, int) for n in wanted) and math.prod(wanted) <= MAX_KNOWN:
            return Known(np.broadcast_to(x.items, wanted), x.dtype)
        if x.items.size == 1 and not x.symbolic and x.stored is None:
            return torch.full(wanted, x.scalar, dtype=x.dtype)
        return tensor(x).expand(wanted)
    return x.expand(wanted)


@operator("Tile", sizes=(1,))
def tile(node: Node, x: Value, repeats: Value) -> torch.Tensor:
    """Repeat a value along each axis."""
    return tensor(x).repeat(integers(node, repeats, "the number of repeats"))


@operator("Pad", sizes=(1, 2, 3))
def pad(
    node: Node,
    x: Value,
    pads: Value | None = None,
    fill: Value | None = None,
    axes: Value | None = None,
) -> torch.Tensor:
    """Add rows around a value; negative amounts remove them."""
    value, mode = tensor(x), node.get("mode", b"constant").decode()
    amounts = list(node.get("pads", ())) if pads is None else integers(node, pads, "the padding")
    chosen = list(range(value.dim())) if axes is None else axes_of(node, axes) or []
    sides = [(0, 0)] * value.dim()
    for i, axis in enumerate(chosen):
        sides[axis] = (amounts[i], amounts[i + len(chosen)])
    flat = [amount for pair in reversed(sides) for amount in pair]
    if mode == "constant":
        number = node.get("value", 0.0) if fill is None else floats(node, fill, "the value")[0]
        while flat and flat[-2:] == [0, 0]:
            flat = flat[:-2]
        return F.pad(value, flat, value=number) if flat else value
    if mode not in _COPIES or not 1 <= value.dim() <= 5:
        raise refuse(node, f"mode {mode!a} of {value.dim()} axes")
    return _padded_by_copies(value, sides, _COPIES[mode])


_COPIES = {"edge": "replicate", "reflect": "reflect", "wrap": "circular"}
"""ONNX's name of a padding that copies elements -> PyTorch's."""


def _padded_by_copies(x: torch.Tensor, sides: list[tuple[Any, Any]], mode: str) -> torch.Tensor:
    """Pad with copies of elements. PyTorch does so on the last axes only; others take turns there."""
    if x.dim() == 1:
        return _padded_by_copies(x.unsqueeze(0), [(0, 0), *sides], mode).squeeze(0)
    leading = 1 if x.dim() == 2 else 2
    none = [(0, 0)] * (x.dim() - leading - 1)
    turns = [(axis, [*none, pair]) for axis, pair in enumerate(sides[:leading]) if pair != (0, 0)]
    if any(pair != (0, 0) for pair in sides[leading:]):
        turns.append((x.dim() - 1, sides[leading:]))
    for axis, pairs in turns:
        amounts = [amount for pair in reversed(pairs) for amount in pair]
        x = F.pad(x.transpose(axis, -1), amounts, mode=mode).transpose(axis, -1)
    return x


@operator("ConstantOfShape", sizes=(0,))
def constant_of_shape(node: Node, to: Value) -> Value:
    """Fill a shape with one number, float32 zero by default."""
    sizes = integers(node, to, "the shape")
    value = node.get("value", np.zeros(1, np.float32)).reshape(-1)
    dtype = torch.from_numpy(value.copy()).dtype
    if all(isinstance(n, int) for n in sizes) and math.prod(sizes) <= MAX_KNOWN:
        items = np.full(sizes, None, dtype=object)
        items[...] = value[0].item()
        return Known(items, dtype)
    return torch.full(sizes, value[0].item(), dtype=dtype)


@operator("Range", sizes=(0, 1, 2))
def range_(node: Node, start: Value, limit: Value, delta: Value) -> Value:
    """Count from ``start`` to below ``limit``."""
    a, b, step = (_bound(node, v) for v in (start, limit, delta))
    if not isinstance(step, int | float) or not step:
        raise refuse(node, "a step of 0, or a symbolic one,")
    whole = isinstance(a, int) and isinstance(b, int)
    if whole and isinstance(step, int) and abs((b - a) // step) <= MAX_KNOWN:
        kind = float if start.dtype.is_floating_point else int
        return known([kind(n) for n in range(a, b, step)], start.dtype)
    return torch.arange(a, b, step, dtype=start.dtype)


def _bound(node: Node, value: Value) -> Any:
    """Read a bound of a range, of floats too; a whole one is exact as an integer."""
    if not isinstance(value, Known):
        return integers(node, value, "a bound")[0]
    number = value.scalar
    return int(number) if isinstance(number, float) and number.is_integer() else number


@operator("CumSum", sizes=(1,))
def cumsum(node: Node, x: Value, axis: Value) -> torch.Tensor:
    """Sum up the elements before and at each position; ``exclusive`` leaves out that one, ``reverse`` sums those behind."""
    value, along = tensor(x), int(integers(node, axis, "the axis")[0])
    backwards = bool(node.get("reverse", 0))
    value = value.flip(along) if backwards else value
    total = torch.cumsum(value, along)
    if node.get("exclusive", 0):
        none = torch.zeros_like(total.narrow(along, 0, 1))
        total = torch.cat([none, total.narrow(along, 0, total.shape[along] - 1)], along)
    return total.flip(along) if backwards else total


@operator("Trilu", sizes=(1,))
def trilu(node: Node, x: Value, k: Value | None = None) -> torch.Tensor:
    """Keep the triangle above or below a diagonal."""
    diagonal = 0 if k is None else int(integers(node, k, "the diagonal")[0])
    compute = torch.triu if node.get("upper", 1) else torch.tril
    return compute(tensor(x), diagonal)
