"""Compute ONNX Resize and Upsample: axes made larger or smaller.

Where PyTorch's ``interpolate`` means the same, it is called; all other forms are sums of neighbours
with weights, one axis after another (``resize_taps.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from .operators import Node, operator, refuse
from .resize_taps import COORDINATES, ROUNDINGS, Sampling, resampled
from .values import Value, floats, integers, tensor

__all__: list[str] = []

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True)
class _Target:
    """What is asked for: ``size`` or ``scale`` of each axis; the other one is ``None``."""

    size: Sequence[Any] | None
    scale: Sequence[float] | None


@operator("Resize", "Upsample", sizes=(1, 2, 3))
def resize(node: Node, x: Value, *rest: Value | None) -> torch.Tensor:
    """Resize axes by the nearest, linear or cubic interpolation of any coordinates."""
    value, sampling = tensor(x), _sampling(node)
    target = _target(node, value, rest)
    if (kind := _interpolation(value, target, sampling)) is not None:
        corners = {} if sampling.mode == "nearest" else {"align_corners": sampling.corners}
        return F.interpolate(value, mode=kind, **_spatial(target), **corners)
    for axis, old in enumerate(value.shape):
        size = old if target.size is None else target.size[axis]
        scale = None if target.scale is None else target.scale[axis]
        if isinstance(old, torch.SymInt) or isinstance(size, torch.SymInt):
            if scale == 1 or (scale is None and size is old):
                continue
            where = sampling.coordinates
            raise refuse(node, f"{sampling.mode} with {where!a} of an axis of unknown size")
        value = resampled(value, axis, None if scale is not None else int(size), scale, sampling)
    return value


def _is_old(node: Node) -> bool:
    """Whether a node has the form of opset 10 and before."""
    return node.operator == "Upsample" or node.opset < 11


def _sampling(node: Node) -> Sampling:
    old = _is_old(node)
    mode = node.get("mode", b"nearest").decode()
    where = node.get("coordinate_transformation_mode", b"half_pixel").decode()
    rounding = node.get("nearest_mode", b"round_prefer_floor").decode()
    if old:
        where, rounding = "asymmetric", "simple"
    if node.get("antialias", 0):
        raise refuse(node, "antialias")
    if node.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        raise refuse(node, "keep_aspect_ratio_policy")
    if mode not in {"nearest", "linear", "cubic"} or where not in COORDINATES:
        raise refuse(node, f"mode {mode!a} with {where!a}")
    if rounding not in ROUNDINGS or (rounding == "simple" and not old):
        raise refuse(node, f"nearest_mode {rounding!a}")
    return Sampling(
        mode,
        where,
        rounding,
        node.get("cubic_coeff_a", -0.75),
        bool(node.get("exclude_outside", 0)),
    )


def _target(node: Node, value: torch.Tensor, rest: tuple[Value | None, ...]) -> _Target:
    """Read ``size`` or ``scale`` of all axes."""
    scales = (*rest, None)[0] if _is_old(node) else (*rest, None, None)[1]
    sizes = (*rest, None, None, None)[2]
    axes = [axis % value.dim() for axis in node.get("axes", range(value.dim()))]
    if sizes is not None:
        whole = integers(node, sizes, "sizes")
        new: list[Any] = list(value.shape)
        for axis, size in zip(axes, whole, strict=True):
            # A batch that isn't resized is the same symbol, not a size that happens to be equal.
            new[axis] = new[axis] if bool(size == new[axis]) else size
        return _Target(new, None)
    factors = (
        list(node.get("scales"))
        if scales is None and "scales" in node.attributes
        else floats(node, scales, "scales")
    )
    stretched = [1.0] * value.dim()
    for axis, factor in zip(axes, factors, strict=True):
        stretched[axis] = factor
    return _Target(None, stretched)


def _spatial(target: _Target) -> dict[str, Any]:
    if target.size is not None:
        return {"size": list(target.size[2:])}
    return {"scale_factor": list(target.scale or ())[2:]}


def _interpolation(value: torch.Tensor, target: _Target, sampling: Sampling) -> str | None:
    """Find the mode of ``interpolate`` that means the same; ``None`` if there is none."""
    rank = value.dim() - 2
    leading = (
        all(a is b or a == b for a, b in zip(target.size[:2], value.shape[:2], strict=True))
        if target.size is not None
        else list(target.scale or ())[:2] == [1.0, 1.0]
    )
    if rank not in _LINEAR or not leading:
        return None
    if sampling.mode == "nearest":
        return "nearest" if _same_nearest(value, target, sampling) else None
    cubic = rank == 2 and sampling.cubic == -0.75 and not sampling.exclude_outside
    kind = _LINEAR[rank] if sampling.mode == "linear" else "bicubic" if cubic else None
    halves = sampling.coordinates == "half_pixel" or (
        # torch takes the middle of a single pixel for its place, this mode its left edge.
        sampling.coordinates == "pytorch_half_pixel" and _longer_than_one(target, value)
    )
    return kind if halves or sampling.corners else None


def _longer_than_one(target: _Target, value: torch.Tensor) -> bool:
    if target.size is not None:
        return all(not isinstance(n, int) or n > 1 for n in target.size[2:])
    pairs = zip(value.shape[2:], list(target.scale or ())[2:], strict=True)
    return all(isinstance(n, torch.SymInt) or int(n * scale) > 1 for n, scale in pairs)


def _same_nearest(value: torch.Tensor, target: _Target, sampling: Sampling) -> bool:
    """Whether PyTorch's nearest pixel, ``floor(i / scale)``, is the one that ONNX means.

    It is for ``asymmetric`` with ``floor``; for whole scales all conventions agree but those
    that align corners.
    """
    if sampling.coordinates == "asymmetric" and sampling.rounding == "floor":
        return True
    if sampling.rounding == "simple":
        return all(factor >= 1 for factor in list(target.scale or ()))
    if target.size is not None:
        pairs = zip(target.size[2:], value.shape[2:], strict=True)
        whole = all(isinstance(n, int) and n % int(old) == 0 for n, old in pairs)
    else:
        whole = all(factor.is_integer() for factor in list(target.scale or ())[2:])
    halves = sampling.coordinates in {"half_pixel", "pytorch_half_pixel"}
    return whole and halves and sampling.rounding.startswith("round")
