"""Compute ONNX operators that reduce axes or sum along them: means, maxima, norms, indices of extremes, CumSum."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .operators import Node, operator, refuse
from .values import Known, Value, axes_of, integers, tensor

__all__: list[str] = []

_Reduce = Callable[[torch.Tensor, list[int], bool], torch.Tensor]


def _prod(x: torch.Tensor, dims: list[int], keep: bool) -> torch.Tensor:
    for dim in sorted((dim % x.dim() for dim in dims), reverse=True):
        x = x.prod(dim, keepdim=keep)
    return x


_REDUCTIONS: dict[str, _Reduce] = {
    "ReduceL1": lambda x, dims, keep: x.abs().sum(dims, keepdim=keep),
    "ReduceL2": lambda x, dims, keep: x.square().sum(dims, keepdim=keep).sqrt(),
    "ReduceLogSum": lambda x, dims, keep: x.sum(dims, keepdim=keep).log(),
    "ReduceLogSumExp": lambda x, dims, keep: x.logsumexp(dims, keepdim=keep),
    "ReduceMax": lambda x, dims, keep: x.amax(dims, keepdim=keep),
    "ReduceMean": lambda x, dims, keep: x.mean(dims, keepdim=keep),
    "ReduceMin": lambda x, dims, keep: x.amin(dims, keepdim=keep),
    "ReduceProd": _prod,
    "ReduceSum": lambda x, dims, keep: x.sum(dims, keepdim=keep),
    "ReduceSumSquare": lambda x, dims, keep: x.square().sum(dims, keepdim=keep),
}


@operator(*_REDUCTIONS, sizes=(1,))
def reduction(node: Node, x: Value, axes: Value | None = None) -> Value:
    """Reduce the given axes, or all of them."""
    chosen = axes_of(node, axes)
    if not chosen and node.get("noop_with_empty_axes", 0):
        return x
    if isinstance(x, Known) and node.operator == "ReduceProd" and x.items.ndim == 1:
        product = math.prod(x.items.tolist())
        shape = (1,) if node.get("keepdims", 1) else ()
        return Known(np.full(shape, product, dtype=object), x.dtype)
    value = tensor(x)
    dims = chosen or list(range(value.dim()))
    return _of_type(value, _REDUCTIONS[node.operator](value, dims, bool(node.get("keepdims", 1))))


def _of_type(x: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    """Convert a result to the operand's type, which torch's sums and products of integers don't keep."""
    return result if result.dtype == x.dtype else result.to(x.dtype)


@operator("ArgMax", "ArgMin")
def position(node: Node, x: Value) -> torch.Tensor:
    """Find the index of the largest or smallest element."""
    if node.get("select_last_index", 0):
        raise refuse(node, "select_last_index")
    compute: Any = torch.argmax if node.operator == "ArgMax" else torch.argmin
    return compute(tensor(x), node.get("axis", 0), keepdim=bool(node.get("keepdims", 1)))


@operator("TopK", sizes=(1,))
def top_k(node: Node, x: Value, k: Value | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the largest or smallest elements and their indices."""
    count = node.get("k") if k is None else int(integers(node, k, "the number")[0])
    found = torch.topk(
        tensor(x),
        count,
        node.get("axis", -1),
        bool(node.get("largest", 1)),
        bool(node.get("sorted", 1)),
    )
    return found.values, found.indices


@operator("CumSum", sizes=(1,))
def cumsum(node: Node, x: Value, axis: Value) -> torch.Tensor:
    """Sum up the elements before and at each position; ``exclusive`` leaves out that one, ``reverse`` sums those behind."""
    value, along = tensor(x), int(integers(node, axis, "the axis")[0])
    backwards = bool(node.get("reverse", 0))
    value = value.flip(along) if backwards else value
    total = _of_type(value, torch.cumsum(value, along))
    if node.get("exclusive", 0):
        none = torch.zeros_like(total.narrow(along, 0, 1))
        total = torch.cat([none, total.narrow(along, 0, total.shape[along] - 1)], along)
    return total.flip(along) if backwards else total
