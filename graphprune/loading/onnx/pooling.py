"""Compute ONNX pooling, resizing, and moves of channels into space and back."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from .layers import is_one_sided, padding
from .operators import Node, operator, refuse
from .values import Value, floats, integers, tensor

__all__: list[str] = []

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def _pads(before: list[int], after: list[int]) -> list[int]:
    pairs = zip(reversed(before), reversed(after), strict=True)
    return [amount for pair in pairs for amount in pair]


@operator("MaxPool")
def max_pool(node: Node, x: Value) -> torch.Tensor:
    """Take the largest value in each window."""
    value, kernel = tensor(x), list(node.get("kernel_shape"))
    rank = len(kernel)
    if rank not in _MAX or len([name for name in node.outputs if name]) > 1:
        raise refuse(node, "an output of indices, or another number of axes than 1 to 3,")
    strides, dilations = node.get("strides", [1] * rank), node.get("dilations", [1] * rank)
    before, after = padding(node, value, kernel, strides, dilations)
    if is_one_sided(before, after) or any(
        2 * pad > k for pad, k in zip(before, kernel, strict=True)
    ):
        value = F.pad(value, _pads(before, after), value=float("-inf"))
        before = [0] * rank
    return _MAX[rank](value, kernel, strides, before, dilations, bool(node.get("ceil_mode", 0)))


@operator("AveragePool")
def average_pool(node: Node, x: Value) -> torch.Tensor:
    """Average the values in each window."""
    value, kernel = tensor(x), list(node.get("kernel_shape"))
    rank = len(kernel)
    strides, dilations = node.get("strides", [1] * rank), node.get("dilations", [1] * rank)
    if rank not in _AVERAGE or any(d != 1 for d in dilations):
        raise refuse(node, "a dilation, or another number of axes than 1 to 3,")
    before, after = padding(node, value, kernel, strides, dilations)
    ceil, counted = bool(node.get("ceil_mode", 0)), bool(node.get("count_include_pad", 0))
    if is_one_sided(before, after):
        if ceil or not counted:
            raise refuse(node, "padding on one side only")
        value, before = F.pad(value, _pads(before, after)), [0] * rank
    return _AVERAGE[rank](value, kernel, strides, before, ceil, counted)


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


@operator("Resize", "Upsample", sizes=(1, 2, 3))
def resize(node: Node, x: Value, *rest: Value | None) -> torch.Tensor:
    """Resize spatial axes, in the ways that PyTorch and ONNX have in common."""
    value = tensor(x)
    target = _target(node, value, rest)
    mode = node.get("mode", b"nearest").decode()
    where = node.get("coordinate_transformation_mode", b"half_pixel").decode()
    if node.operator == "Upsample" or node.opset < 11:
        where = "asymmetric"
    if mode == "nearest":
        if not _same_nearest(node, value, target, where):
            raise refuse(node, f"nearest with {where!a} at this scale")
        return F.interpolate(value, mode="nearest", **target)
    cubic = mode == "cubic" and value.dim() == 4 and node.get("cubic_coeff_a", -0.75) == -0.75
    kind = "bicubic" if cubic else _LINEAR.get(value.dim() - 2) if mode == "linear" else None
    if kind is None or node.get("exclude_outside", 0) or node.get("antialias", 0):
        raise refuse(node, f"mode {mode!a} of this kind")
    if where not in {"half_pixel", "pytorch_half_pixel", "align_corners"}:
        raise refuse(node, f"{mode} with {where!a}")
    return F.interpolate(value, mode=kind, align_corners=where == "align_corners", **target)


def _target(node: Node, value: torch.Tensor, rest: tuple[Value | None, ...]) -> dict[str, Any]:
    """Read ``size`` or ``scale_factor`` of the spatial axes."""
    scales = rest[0] if node.operator == "Upsample" or node.opset < 11 else (*rest, None, None)[1]
    sizes = (*rest, None, None, None)[2]
    rank, axes = value.dim(), node.get("axes")
    if axes is not None and list(axes) != list(range(rank - len(axes), rank)):
        raise refuse(node, "this choice of axes")
    if sizes is not None:
        whole = integers(node, sizes, "sizes")
        return {"size": whole[-(rank - 2) :] if axes is None else whole}
    factors = floats(node, scales, "scales")
    if axes is None and (len(factors) != rank or factors[:2] != [1.0, 1.0]):
        raise refuse(node, "resizing of batch or channels")
    return {"scale_factor": factors[-(rank - 2) :]}


def _same_nearest(node: Node, value: torch.Tensor, target: dict[str, Any], where: str) -> bool:
    """Whether PyTorch's nearest pixel, ``floor(i / scale)``, is the one that ONNX means.

    It is for ``asymmetric`` with ``floor``; for whole scales all conventions agree but those
    that align corners.
    """
    rounding = node.get("nearest_mode", b"round_prefer_floor").decode()
    if where == "asymmetric" and (rounding == "floor" or node.opset < 11):
        return True
    if "size" in target:
        pairs = zip(target["size"], value.shape[2:], strict=True)
        whole = all(isinstance(n, int) and n % int(old) == 0 for n, old in pairs)
    else:
        whole = all(factor.is_integer() for factor in target["scale_factor"])
    return whole and where in {"half_pixel", "pytorch_half_pixel"} and rounding.startswith("round")
