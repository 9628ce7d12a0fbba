"""Compute ONNX Resize and Upsample: spatial axes made larger or smaller."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from .operators import Node, operator, refuse
from .values import Value, floats, integers, tensor

__all__: list[str] = []

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


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
