"""Slice tensors to the rows that stay, and write such slices back into dense tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from graphprune.axes.kept import Kept
from graphprune.axes.layout import Layout

__all__ = ["keep_rows", "slice_tensors", "spread_tensors"]


def keep_rows(value: torch.Tensor, layout: Layout, kept: Kept) -> torch.Tensor:
    """Slice a tensor to the rows that stay.

    Args:
        value: with the axes of ``layout``; one of size 1 that broadcasts along a longer axis is left as it is.
        layout: of the dense tensor.
        kept: the rows that stay.

    Returns:
        The slice; the tensor itself where all rows stay.
    """
    for dim, axis in enumerate(layout):
        if axis.shape[1] and value.shape[dim] == len(axis) and not (rows := kept(axis)).all():
            index = torch.from_numpy(np.flatnonzero(rows)).to(value.device)
            value = value.index_select(dim, index)
    return value


def slice_tensors(
    tensors: Mapping[str, torch.Tensor], axes: Mapping[str, Layout], kept: Kept
) -> dict[str, torch.Tensor]:
    """Slice the tensors that shrink. Shared tensors stay shared.

    Args:
        tensors: the dense ones, by name.
        axes: their layouts.
        kept: the rows that stay.

    Returns:
        The sliced tensors by name; those that keep their shape are left out.
    """
    done: dict[int, torch.Tensor] = {}
    out: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if id(tensor) not in done:
            done[id(tensor)] = _sliced(tensor, axes[name], kept)
        if done[id(tensor)] is not tensor:
            out[name] = done[id(tensor)]
    return out


def spread_tensors(
    tensors: Mapping[str, torch.Tensor],
    axes: Mapping[str, Layout],
    kept: Kept,
    values: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Write tensors of the cut network into the kept rows of dense ones, as opposed to ``slice_tensors``.

    Args:
        tensors: the dense ones.
        axes: their layouts.
        kept: the rows that stay.
        values: tensors of the cut network; those of other names or shapes are left out.
    """
    done: dict[int, torch.Tensor] = {}
    out: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if name not in values:
            continue
        if id(tensor) not in done:
            rows = [
                kept(axis) if axis.shape[1] else np.ones(len(axis), bool) for axis in axes[name]
            ]
            value = values[name].detach()
            if value.shape != tuple(map(np.count_nonzero, rows)):
                continue
            done[id(tensor)] = _spread(tensor, rows, value)
        out[name] = done[id(tensor)]
    return out


def _spread(
    tensor: torch.Tensor, rows: Sequence[NDArray[np.bool_]], value: torch.Tensor
) -> torch.Tensor:
    if not rows:
        return value
    places = np.ix_(*map(np.flatnonzero, rows))
    indices = tuple(torch.from_numpy(index).to(value.device) for index in places)
    return tensor.detach().to(value).index_put(indices, value)


def _sliced(tensor: torch.Tensor, layout: Layout, kept: Kept) -> torch.Tensor:
    out = keep_rows(tensor.detach(), layout, kept)
    return tensor if out.shape == tensor.shape else _like(out, tensor)


def _like(value: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """The value in the memory format, the class and with the attributes of another tensor.

    Training loops mark parameters by attributes, such as ``_no_weight_decay``.
    """
    if value.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        value = value.contiguous(memory_format=torch.channels_last)
    if isinstance(tensor, torch.nn.Parameter):
        value = torch.nn.Parameter(value, requires_grad=tensor.requires_grad)
    vars(value).update(vars(tensor))
    return value
