"""Convert between the element types of ONNX, and name torch's type for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .operators import Node, operator, refuse
from .values import Known, Value, tensor

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
        turn: Callable[[Any], Any] = (
            bool
            if dtype is torch.bool
            else (
                (lambda n: n if not isinstance(n, int) else float(n))
                if dtype.is_floating_point
                else (lambda n: int(n) if isinstance(n, float | bool) else n)
            )
        )
        return Known(np.asarray(np.frompyfunc(turn, 1, 1)(x.items), dtype=object), dtype)
    return tensor(x).to(dtype)


@operator("CastLike")
def cast_like(node: Node, x: Value, like: Value) -> torch.Tensor:
    """Convert to the element type of another value."""
    return tensor(x).to(like.dtype)
