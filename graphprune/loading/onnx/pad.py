"""Compute ONNX Pad: with a number, or with copies of elements on any axis."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from .operators import Node, operator, refuse
from .values import Value, axes_of, floats, integers, tensor

__all__: list[str] = []


@operator("Pad", sizes=(1, 2, 3))
def pad(
    node: Node,
    x: Value,
    pads: Value | None = None,
    fill: Value | None = None,
    axes: Value | None = None,
) -> torch.Tensor:
    """Add rows around a value; negative amounts remove them."""
    value, mode = tensor(x), node.get("mode", b"constant").decode()
    amounts = list(node.get("pads", ())) if pads is None else integers(node, pads, "the padding")
    chosen = list(range(value.dim())) if axes is None else axes_of(node, axes) or []
    sides = [(0, 0)] * value.dim()
    for i, axis in enumerate(chosen):
        sides[axis] = (amounts[i], amounts[i + len(chosen)])
    flat = [amount for pair in reversed(sides) for amount in pair]
    if mode == "constant":
        number = node.get("value", 0.0) if fill is None else floats(node, fill, "the value")[0]
        while flat and flat[-2:] == [0, 0]:
            flat = flat[:-2]
        return F.pad(value, flat, value=number) if flat else value
    if mode not in _COPIES or not 1 <= value.dim() <= 5:
        raise refuse(node, f"mode {mode!a} of {value.dim()} axes")
    return _padded_by_copies(value, sides, _COPIES[mode])


_COPIES = {"edge": "replicate", "reflect": "reflect", "wrap": "circular"}
"""ONNX's name of a padding that copies elements -> PyTorch's."""


def _padded_by_copies(x: torch.Tensor, sides: list[tuple[Any, Any]], mode: str) -> torch.Tensor:
    """Pad with copies of elements. PyTorch does so on the last axes only; others take turns there."""
    if x.dim() == 1:
        return _padded_by_copies(x.unsqueeze(0), [(0, 0), *sides], mode).squeeze(0)
    leading = 1 if x.dim() == 2 else 2
    none = [(0, 0)] * (x.dim() - leading - 1)
    turns = [(axis, [*none, pair]) for axis, pair in enumerate(sides[:leading]) if pair != (0, 0)]
    if any(pair != (0, 0) for pair in sides[leading:]):
        turns.append((x.dim() - 1, sides[leading:]))
    for axis, pairs in turns:
        amounts = [amount for pair in reversed(pairs) for amount in pair]
        x = F.pad(x.transpose(axis, -1), amounts, mode=mode).transpose(axis, -1)
    return x
