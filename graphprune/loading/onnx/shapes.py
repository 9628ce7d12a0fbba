"""Compute ONNX operators that tell the sizes of a value, or give it other axes: Reshape, Transpose, Expand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from .operators import Node, operator
from .values import MAX_KNOWN, Known, Value, axes_of, integers, known, tensor

__all__ = ["shape_of", "squeeze", "unsqueeze"]


def shape_of(x: Value) -> list[Any]:
    """List the sizes of a value, each an int or a symbolic one."""
    return list(x.items.shape if isinstance(x, Known) else x.shape)


@operator("Shape")
def shape(node: Node, x: Value) -> Known:
    """Return the sizes of a value, or a slice of them."""
    return known(shape_of(x)[node.get("start", 0) : node.get("end")])


@operator("Size")
def size(node: Node, x: Value) -> Known:
    """Count the elements of a value."""
    return known(math.prod(shape_of(x)))


@operator("Reshape", sizes=(1,))
def reshape(node: Node, x: Value, to: Value) -> Value:
    """Give a value a new shape; ``0`` copies a size, ``-1`` is what is left."""
    sizes = integers(node, to, "the new shape")
    if not node.get("allowzero", 0):
        old = shape_of(x)
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
    order = node.get("perm", list(reversed(range(len(shape_of(x))))))
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
    rank = len(shape_of(x)) + len(chosen)
    places = sorted(axis % rank for axis in chosen)
    if isinstance(x, Known):
        return Known(np.expand_dims(x.items, tuple(places)), x.dtype)
    for place in places:
        x = x.unsqueeze(place)
    return x


@operator("Expand", sizes=(1,))
def expand(node: Node, x: Value, to: Value) -> Value:
    """Broadcast to a shape; a size of 1 there keeps the old one."""
    sizes = integers(node, to, "the new shape")
    old = shape_of(x)
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
