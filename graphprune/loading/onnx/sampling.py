"""Compute ONNX operators that read values at places between pixels, or put patches together."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .operators import Node, operator, refuse
from .values import Value, integers, tensor

__all__: list[str] = []

_MODES = {"linear": "bilinear", "cubic": "bicubic"}
"""ONNX's name of an interpolation since opset 20 -> PyTorch's, which is that of opset 16."""


@operator("GridSample")
def grid_sample(node: Node, x: Value, grid: Value) -> torch.Tensor:
    """Interpolate at the places that a grid gives, the same for all channels."""
    mode: str = node.get("mode", b"linear").decode()
    return F.grid_sample(
        tensor(x),
        tensor(grid),
        mode=_MODES.get(mode, mode),
        padding_mode=node.get("padding_mode", b"zeros").decode(),
        align_corners=bool(node.get("align_corners", 0)),
    )


@operator("Col2Im", sizes=(1, 2))
def columns_to_image(node: Node, x: Value, image: Value, block: Value) -> torch.Tensor:
    """Add up patches ``[N, C * block, patches]`` where they lie in an image."""
    kernel = integers(node, block, "the size of a patch")
    pads = node.get("pads", [0] * (2 * len(kernel)))
    before, after = pads[: len(kernel)], pads[len(kernel) :]
    if len(kernel) != 2 or before != after:
        raise refuse(node, "another number of axes than 2, or padding on one side,")
    dilations, strides = node.get("dilations", [1, 1]), node.get("strides", [1, 1])
    sizes = tuple(integers(node, image, "the size of the image"))
    return F.fold(tensor(x), sizes, tuple(kernel), dilations, before, strides)


@operator("GlobalLpPool")
def global_norm(node: Node, x: Value) -> torch.Tensor:
    """Compute the p-norm over all spatial axes, which stay with size 1."""
    value, p = tensor(x), node.get("p", 2)
    return value.abs().pow(p).sum(list(range(2, value.dim())), keepdim=True).pow(1 / p)


@operator("MeanVarianceNormalization")
def mean_variance(node: Node, x: Value) -> torch.Tensor:
    """Subtract the mean over some axes, and divide by the standard deviation."""
    value, axes = tensor(x), node.get("axes", [0, 2, 3])
    centred = value - value.mean(axes, keepdim=True)
    return centred / (centred.square().mean(axes, keepdim=True).sqrt() + _STABLE)


_STABLE = 1e-9
"""What ONNX adds to the standard deviation."""
