"""Compute ONNX operators that make tensors of given sizes: ConstantOfShape and Range."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from .operators import Node, operator, refuse
from .values import MAX_KNOWN, Known, Value, integers, known

__all__: list[str] = []


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
