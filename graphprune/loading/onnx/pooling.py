"""Compute ONNX pooling, and moves of channels into space and back."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from .operators import Node, operator, refuse
from .unpooling import places_of
from .values import Value, tensor
from .windows import Window

__all__: list[str] = []

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@operator("MaxPool")
def max_pool(node: Node, x: Value) -> Any:
    """Take the largest value in each window; the second result says where it stands."""
    value, kernel = tensor(x), list(node.get("kernel_shape"))
    rank = len(kernel)
    if rank not in _MAX:
        raise refuse(node, "another number of axes than 1 to 3")
    window = Window.of(node, value, kernel)
    told, pads = any(node.outputs[1:]), window.before
    wide = any(2 * pad > k for pad, k in zip(pads, kernel, strict=True))
    if told and (wide or window.is_one_sided or node.get("storage_order", 0)):
        raise refuse(node, "places counted column by column, or in what is padded so,")
    if wide or window.is_one_sided:
        value, pads = F.pad(value, window.pads, value=float("-inf")), [0] * rank
    more = (kernel, window.strides, pads, window.dilations, bool(node.get("ceil_mode", 0)))
    if not told:
        return _MAX[rank](value, *more)
    y, within = _MAX[rank](value, *more, return_indices=True)
    return y, places_of(value, within)


@operator("AveragePool")
def average_pool(node: Node, x: Value) -> torch.Tensor:
    """Average the values in each window."""
    value, kernel = tensor(x), list(node.get("kernel_shape"))
    rank = len(kernel)
    window = Window.of(node, value, kernel)
    if rank not in _AVERAGE or any(d != 1 for d in window.dilations):
        raise refuse(node, "a dilation, or another number of axes than 1 to 3,")
    ceil, counted = bool(node.get("ceil_mode", 0)), bool(node.get("count_include_pad", 0))
    pads = window.before
    if window.is_one_sided:
        if ceil or not counted:
            raise refuse(node, "padding on one side only")
        value, pads = F.pad(value, window.pads), [0] * rank
    return _AVERAGE[rank](value, kernel, window.strides, pads, ceil, counted)


@operator("LpPool")
def lp_pool(node: Node, x: Value) -> torch.Tensor:
    """Compute the p-norm of each window."""
    value, kernel, p = tensor(x), list(node.get("kernel_shape")), node.get("p", 2)
    rank = len(kernel)
    window = Window.of(node, value, kernel)
    if rank not in _AVERAGE or any(d != 1 for d in window.dilations) or node.get("ceil_mode", 0):
        raise refuse(node, "a dilation, ceil_mode, or another number of axes than 1 to 3,")
    powers = F.pad(value.abs().pow(p), window.pads)
    return (_AVERAGE[rank](powers, kernel, window.strides) * math.prod(kernel)).pow(1 / p)


@operator("LRN")
def local_response_normalization(node: Node, x: Value) -> torch.Tensor:
    """Divide by a power of the mean square of the channels around each, so neighbours have to stay neighbours."""
    value, size = tensor(x), node.get("size")
    before = (size - 1) // 2
    squares = F.pad(value.square().transpose(1, -1), [before, size - 1 - before])
    mean = F.avg_pool1d(squares.flatten(0, -2).unsqueeze(1), size, 1).squeeze(1)
    mean = mean.reshape(value.transpose(1, -1).shape).transpose(1, -1)
    scale = node.get("bias", 1.0) + node.get("alpha", 1e-4) * mean
    return value / scale.pow(node.get("beta", 0.75))


@operator("GlobalAveragePool")
def global_average_pool(node: Node, x: Value) -> torch.Tensor:
    """Average over all spatial axes, which stay with size 1."""
    value = tensor(x)
    return value.mean(list(range(2, value.dim())), keepdim=True)


@operator("GlobalMaxPool")
def global_max_pool(node: Node, x: Value) -> torch.Tensor:
    """Take the maximum over all spatial axes, which stay with size 1."""
    value = tensor(x)
    return value.amax(list(range(2, value.dim())), keepdim=True)


@operator("DepthToSpace")
def depth_to_space(node: Node, x: Value) -> torch.Tensor:
    """Move blocks of channels into squares of pixels."""
    value, b = tensor(x), node.get("blocksize")
    if node.get("mode", b"DCR") == b"CRD":
        return F.pixel_shuffle(value, b)
    n, c, h, w = value.shape
    blocks = value.reshape(n, b, b, c // (b * b), h, w).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(n, c // (b * b), h * b, w * b)


@operator("SpaceToDepth")
def space_to_depth(node: Node, x: Value) -> torch.Tensor:
    """Move squares of pixels into blocks of channels."""
    value, b = tensor(x), node.get("blocksize")
    n, c, h, w = value.shape
    blocks = value.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4)
    return blocks.reshape(n, c * b * b, h // b, w // b)
