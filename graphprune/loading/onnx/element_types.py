"""Convert between the element types of ONNX, and name torch's type for each."""

from __future__ import annotations

from typing import Any

import torch

from .operators import Node, operator, refuse
from .values import Known, Value, map_known, tensor

__all__ = ["DTYPES"]

DTYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    4: torch.uint16,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}
"""ONNX's number of an element type -> torch's type."""


@operator("Cast")
def cast(node: Node, x: Value) -> Value:
    """Convert to another element type."""
    dtype = DTYPES.get(node.get("to"))
    if dtype is None:
        raise refuse(node, f"type number {node.get('to')}")
    if isinstance(x, Known) and x.stored is None:
        return map_known(node, lambda number: _converted(number, dtype), (x,), dtype)
    return tensor(x).to(dtype)


def _converted(number: Any, dtype: torch.dtype) -> Any:
    """Convert a number to an element type; a symbolic size stays one."""
    if dtype is torch.bool:
        return bool(number)
    if dtype.is_floating_point:
        return float(number) if isinstance(number, int) else number
    return int(number) if isinstance(number, float | bool) else number


@operator("CastLike")
def cast_like(node: Node, x: Value, like: Value) -> torch.Tensor:
    """Convert to the element type of another value."""
    return tensor(x).to(like.dtype)
