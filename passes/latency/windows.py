"""Describe the windows of convolutions and poolings, as attributes of their kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from graphprune.ir.nodes import bind

__all__ = ["convolution_window", "pooling_window", "whole_mean"]

Window = dict[str, tuple[int | float, ...]]
"""Attribute -> its numbers."""


def convolution_window(call: Mapping[str, Any], kernel: tuple[int, ...]) -> Window:
    """Describe the window of a convolution.

    Args:
        call: arguments of the call, by name.
        kernel: sizes of the window.
    """
    dilation = _per_axis(call["dilation"], len(kernel))
    return {
        "kernel": kernel,
        "stride": _per_axis(call["stride"], len(kernel)),
        "dilation": dilation,
        "padding": _padding(call["padding"], kernel, dilation),
    }


def pooling_window(node: fx.Node) -> Window | None:
    """Describe the window of a pooling of images.

    Returns:
        ``None`` if it is dilated, or of a single image without an axis of samples: there is no kernel for either.
    """
    call = bind(node)
    if call["self"].meta["val"].ndim != 4:
        return None
    dilated = node.target is torch.ops.aten.max_pool2d.default and call["dilation"]
    if dilated and set(_per_axis(dilated, 2)) != {1}:
        return None
    size = _per_axis(call["kernel_size"], 2)
    return {
        "kernel": size,
        "stride": _per_axis(call["stride"] or size, 2),
        "padding": 2 * _per_axis(call["padding"], 2),
        "ceil_mode": (int(call["ceil_mode"]),),
    }


def whole_mean(node: fx.Node) -> Window | None:
    """Describe a mean over the whole of an image, which has no window; ``None`` if it is over something else."""
    call = bind(node)
    axes = sorted(axis % 4 for axis in call.get("dim", (2, 3)) or ())
    if node.all_input_nodes[0].meta["val"].ndim != 4 or axes != [2, 3]:
        return None
    size = call.get("output_size", (1, 1))
    return {} if set(_per_axis(size, 2)) == {1} else None


def _per_axis(value: Any, count: int) -> tuple[int, ...]:
    """Expand a number, or a list of one, to one number for every axis."""
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    return values * count if len(values) == 1 else values


def _padding(padding: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    """Return the padding before each axis, then after each."""
    if padding == "valid":
        return (0,) * (2 * len(kernel))
    if padding == "same":
        both = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return (*(b // 2 for b in both), *(b - b // 2 for b in both))
    return _per_axis(padding, len(kernel)) * 2
