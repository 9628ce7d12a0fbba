"""Compute CenterCropPad: axes that are cropped or padded to given sizes, alike on both sides."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .operators import Node, operator
from .values import Value, axes_of, integers, tensor

__all__: list[str] = []


@operator("CenterCropPad", sizes=(1,))
def center_crop_pad(node: Node, x: Value, to: Value) -> torch.Tensor:
    """Take the middle of axes that are too long, and put zeros around those that are too short."""
    value, sizes = tensor(x), integers(node, to, "the sizes of the result")
    axes = axes_of(node, None)
    for axis, size in zip(range(value.dim()) if axes is None else axes, sizes, strict=True):
        own = value.shape[axis]
        if own > size:
            value = value.narrow(axis, (own - size) // 2, size)
        elif own < size:
            less = (size - own) // 2
            behind = [0, 0] * (value.dim() - 1 - axis % value.dim())
            value = F.pad(value, [*behind, less, size - own - less])
    return value
