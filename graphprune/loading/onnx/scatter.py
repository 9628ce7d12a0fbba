"""Compute ONNX operators that place or take elements by indices along some axes, and hand on the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .concat_slice import gather
from .operators import Node, operator, refuse
from .values import Known, Value, integers, known, tensor

__all__: list[str] = []

_REDUCE = {b"mul": "prod", b"max": "amax", b"min": "amin"}
"""ONNX's name of what is done with elements that meet -> PyTorch's."""


@operator("ScatterElements", "Scatter")
def scatter_elements(node: Node, x: Value, indices: Value, updates: Value) -> torch.Tensor:
    """Write one element for each index, along one axis, or combine it with what is there."""
    value, places, new = tensor(x), tensor(indices).to(torch.int64), tensor(updates)
    axis, how = node.get("axis", 0), node.get("reduction", b"none")
    places = torch.where(places < 0, places + value.shape[axis], places)
    if how == b"none":
        return torch.scatter(value, axis, places, new)
    if how == b"add":
        return torch.scatter_add(value, axis, places, new)
    if how not in _REDUCE:
        raise refuse(node, f"the reduction {how!a:.80}")
    return torch.scatter_reduce(value, axis, places, new, _REDUCE[how])


@operator("ScatterND")
def scatter_nd(node: Node, x: Value, indices: Value, updates: Value) -> torch.Tensor:
    """Write slices ``x[indices[i]] = updates[i]``, indices of the first axes, or add them."""
    how = node.get("reduction", b"none")
    if how not in {b"none", b"add"}:
        raise refuse(node, f"the reduction {how!a:.80}")
    places = tuple(tensor(indices).unbind(-1))
    return torch.index_put(tensor(x), places, tensor(updates), how == b"add")


@operator("GatherND")
def gather_nd(node: Node, x: Value, indices: Value) -> torch.Tensor:
    """Take slices ``x[indices[i]]``, of the same position along the first ``batch_dims`` axes."""
    value, where = tensor(x), tensor(indices)
    places, shared = list(where.unbind(-1)), node.get("batch_dims", 0)
    for axis in reversed(range(shared)):
        rows = torch.arange(value.shape[axis], device=value.device)
        places.insert(0, rows.reshape([-1 if i == axis else 1 for i in range(where.dim() - 1)]))
    return value[tuple(places)]


@operator("Compress", sizes=(1,))
def compress(node: Node, x: Value, condition: Value) -> torch.Tensor:
    """Take the rows of an axis for which a stored condition holds; without an axis, elements."""
    if not isinstance(condition, Known):
        raise refuse(node, "a computed condition")
    chosen = np.flatnonzero(condition.items.reshape(-1).astype(bool))
    flat = "axis" not in node.attributes
    rows = known(chosen, torch.int64)
    return gather(node, tensor(x).flatten() if flat else tensor(x), rows)


@operator("ReverseSequence", sizes=(1,))
def reverse_sequence(node: Node, x: Value, lengths: Value) -> torch.Tensor:
    """Turn the first elements of each sequence round, as many as it is long."""
    value = tensor(x)
    time, batch = node.get("time_axis", 0), node.get("batch_axis", 1)
    if {time, batch} != {0, 1}:
        raise refuse(node, "other axes than the first two")
    long = tensor(lengths).to(torch.int64)
    steps = torch.arange(value.shape[time], device=value.device)
    steps, long = (
        (steps.unsqueeze(1), long.unsqueeze(0)) if time == 0 else (steps.unsqueeze(0), long.unsqueeze(1))
    )  # fmt: skip
    places = torch.where(steps < long, long - 1 - steps, steps)
    places = places.reshape(*places.shape, *[1] * (value.dim() - 2))
    return torch.take_along_dim(value, places, time)


@operator("OneHot", sizes=(1,))
def one_hot(node: Node, x: Value, depth: Value, values: Value) -> torch.Tensor:
    """Write one value at the position that an index gives, along a new axis, and another elsewhere."""
    places, count = tensor(x), integers(node, depth, "the number of positions")[0]
    axis = node.get("axis", -1)
    axis = axis + places.dim() + 1 if axis < 0 else axis
    places = torch.where(places < 0, places + count, places).unsqueeze(axis)
    own = torch.arange(count, device=places.device)
    own = own.reshape([-1 if i == axis else 1 for i in range(places.dim())])
    off, on = tensor(values).unbind(0)
    return torch.where(places == own, on, off)


@operator("Hardmax")
def hardmax(node: Node, x: Value) -> torch.Tensor:
    """Write 1 at the largest element of one axis and 0 elsewhere; before opset 13 of all axes from there on."""
    value = tensor(x)
    axis = node.get("axis", -1 if node.opset >= 13 else 1) % value.dim()
    if node.opset < 13 and axis != value.dim() - 1:
        return _at_largest(value.flatten(axis), -1).reshape(value.shape)
    return _at_largest(value, axis)


def _at_largest(x: torch.Tensor, axis: int) -> torch.Tensor:
    own: Any = torch.arange(x.shape[axis], device=x.device)
    own = own.reshape([-1 if i == axis % x.dim() else 1 for i in range(x.dim())])
    return (own == x.argmax(axis, keepdim=True)).to(x.dtype)
