"""Operators that join the rows of several axes, or stack tensors along a new one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from graphprune.axes.labels import Axis, unlabelled
from graphprune.axes.layout import Layout, with_axis
from graphprune.axes.unify import pad_columns

from .call import Call
from .registry import rule, sample, state_traits

__all__ = ["stack_rows"]

aten = torch.ops.aten


def stack_rows(axes: Sequence[Axis]) -> Axis:
    """Concatenate the rows of several axes."""
    width = max(axis.shape[1] for axis in axes)
    return np.concatenate([pad_columns(axis, width) for axis in axes])


@rule(
    aten.cat.default,
    samples=lambda: [
        sample([torch.randn(2, 6, 3), torch.randn(2, 4, 3)], 1),
        sample([torch.randn(2, 6), torch.randn(2, 4), torch.randn(2, 2)], -1),
    ],
    quiet=True,
)
@rule(
    aten.concat.default,
    aten.concatenate.default,
    samples=lambda: [sample([torch.randn(2, 6, 3), torch.randn(2, 4, 3)], 1)],
    quiet=True,
)
def concatenate(call: Call) -> Layout:
    """Concatenate the rows of the inputs along ``dim``; the other axes are tied."""
    layouts = call.layouts("tensors")
    return _joined(call, layouts, call.dim(call["dim"], len(layouts[0])))


_STACKS: dict[Any, int] = {aten.hstack.default: 1, aten.vstack.default: 0, aten.dstack.default: 2}


@rule(
    *_STACKS,
    samples=lambda: [
        sample([torch.randn(2, 6, 3), torch.randn(2, 6, 3)]),
        sample([torch.randn(6), torch.randn(6)], free=False),
    ],
    quiet=True,
)
def concatenate_fixed_axis(call: Call) -> Layout:
    """Concatenate along the dimension that the operator's name implies, which may be a new one."""
    layouts, dim = call.layouts("tensors"), _STACKS[call.node.target]
    if all(len(layout) > dim and len(layout) > 1 for layout in layouts):
        return _joined(call, layouts, dim)
    call.freeze(*(axis for layout in layouts for axis in layout))
    return tuple(map(unlabelled, call.out_shape))


def _joined(call: Call, layouts: Sequence[Layout], dim: int) -> Layout:
    first, *others = layouts
    for other in others:
        for i, (mine, theirs) in enumerate(zip(first, other, strict=True)):
            if i != dim:
                call.tie(mine, theirs)
    return with_axis(first, dim, stack_rows([layout[dim] for layout in layouts]))


@rule(
    aten.stack.default,
    samples=lambda: [sample([torch.randn(2, 6), torch.randn(2, 6)], 1)],
    quiet=True,
)
def stack(call: Call) -> Layout:
    """Stack inputs along a new axis; all their axes are tied."""
    first, *others = call.layouts("tensors")
    for other in others:
        for mine, theirs in zip(first, other, strict=True):
            call.tie(mine, theirs)
    dim = call.dim(call["dim"], len(first) + 1)
    return (*first[:dim], unlabelled(1 + len(others)), *first[dim:])


state_traits(
    aten.cat.default,
    aten.concat.default,
    aten.concatenate.default,
    linear=True,
    concatenates=True,
)
