"""Compute DeformConv: a convolution whose taps are moved by computed offsets.

The moved taps are sampled first, ``[N, C, taps, pixels]``; a plain convolution over the taps does the rest, so that
channels are cut, and layers refitted, as those of any convolution.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from .operators import Node, operator, refuse
from .values import Value, tensor
from .windows import Window

__all__: list[str] = []


@operator("DeformConv")
def deform_conv(
    node: Node,
    x: Value,
    weight: Value,
    offset: Value,
    bias: Value | None = None,
    mask: Value | None = None,
) -> torch.Tensor:
    """Convolve with taps at fractional positions, by bilinear interpolation; each may be multiplied by a mask.

    ``offset: [N, groups * taps * 2, h, w]`` holds rows and columns, ``mask: [N, groups * taps, h, w]``; channels are
    split over these groups.
    """
    value, kernels, moves = tensor(x), tensor(weight), tensor(offset)
    if value.dim() != 4:
        raise refuse(node, "another number of axes than two behind the channels")
    window = Window.of(node, value, [int(n) for n in kernels.shape[2:]])
    groups, pixels = node.get("offset_group", 1), moves.shape[-2:]
    moves = moves.unflatten(1, [groups, math.prod(window.kernel), 2])
    places = [moves.select(3, axis) + _grid(axis, window, pixels, value) for axis in (0, 1)]
    channels = value.unflatten(1, [groups, -1]).flatten(3)
    sampled = _interpolated(channels, places, value.shape[-2:])
    if mask is not None:
        sampled = sampled * tensor(mask).unflatten(1, [groups, 1, -1]).flatten(4)
    columns = sampled.flatten(1, 2)
    flat = F.conv2d(
        columns,
        kernels.flatten(2).unsqueeze(-1),
        None if bias is None else tensor(bias),
        groups=node.get("group", 1),
    )
    return flat.squeeze(2).unflatten(-1, list(pixels))


def _grid(axis: int, window: Window, pixels: Any, like: torch.Tensor) -> torch.Tensor:
    """Compute where taps are without offsets, along one axis: ``[taps, h or 1, w or 1]``."""
    number, columns = torch.arange(math.prod(window.kernel), device=like.device), window.kernel[1]
    tap = torch.div(number, columns, rounding_mode="floor") if axis == 0 else number % columns
    start = torch.arange(pixels[axis], device=like.device) * window.strides[axis]
    pixel = start - window.before[axis]
    grid = (tap * window.dilations[axis]).unsqueeze(1) + pixel
    return grid.unsqueeze(2 - axis).to(like.dtype)


def _interpolated(x: torch.Tensor, places: list[torch.Tensor], sizes: Any) -> torch.Tensor:
    """Sample planes at fractional places; beyond their edges they are zero.

    Args:
        x: ``[N, groups, channels, h * w]``.
        places: rows and columns, ``[N, groups, taps, pixels...]`` each.
        sizes: h and w.

    Returns:
        ``[N, groups, channels, taps, pixels]``.
    """
    low = [torch.floor(each) for each in places]
    total: Any = 0
    for down in (0, 1):
        for right in (0, 1):
            at, share = list[torch.Tensor](), torch.ones((), dtype=x.dtype, device=x.device)
            for place, first, step, size in zip(places, low, (down, right), sizes, strict=True):
                corner = first + step
                inside = (corner >= 0) & (corner < size)
                near = 1 - (place - corner).abs()
                share = share * torch.where(inside, near, 0.0)
                at.append(corner.clamp(0, size - 1).to(torch.int64))
            index = (at[0] * sizes[1] + at[1]).flatten(2).unsqueeze(2)
            corner = x.gather(3, index.expand(-1, -1, x.shape[2], -1))
            total = total + corner * share.flatten(2).unsqueeze(2)
    return total.unflatten(-1, [places[0].shape[2], -1])
