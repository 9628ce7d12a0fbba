"""Functions of all of a dimension that reduce none: softmax, cumulative sums, weight normalisation."""

from __future__ import annotations

import torch

from graphprune.axes.labels import unlabelled
from graphprune.axes.layout import Layout, with_axis

from .call import Call
from .registry import rule, sample

__all__ = ["along_dimension"]

aten = torch.ops.aten


@rule(
    aten._weight_norm.default,
    samples=lambda: [
        sample(torch.randn(6, 3, 4), torch.rand(6, 1, 1) + 0.5, 0),
        sample(torch.randn(3, 6), torch.rand(1, 6) + 0.5, 1),
        sample(torch.randn(3, 6), torch.tensor(0.5), -1, free=False),
    ],
)
def weight_norm(call: Call) -> Layout:
    """Weight normalisation ``g * v / |v|``: a norm for each row of ``dim``, or one for all if it is -1."""
    layout, dim = call.layout("v"), call["dim"]
    call.mix(*(axis for i, axis in enumerate(layout) if i != dim))
    if dim >= 0:
        call.tie(layout[dim], call.layout("g")[dim])
    return layout


@rule(
    aten.diff.default,
    samples=lambda: [
        sample(torch.randn(2, 6, 4)),
        sample(torch.randn(2, 6, 4), 2, 1),
        sample(torch.randn(2, 6, 4), 1, -1, torch.randn(2, 6, 1), torch.randn(2, 6, 2)),
    ],
)
def differences(call: Call) -> Layout:
    """Compute differences of neighbours along ``dim``, which therefore stays whole; others are tied.

    What is put before and after the tensor has the same other dimensions.
    """
    layout = call.layout("self")
    dim = call.dim(call["dim"], len(layout))
    call.mix(layout[dim])
    for name in ("prepend", "append"):
        if call[name] is not None:
            for i, (mine, other) in enumerate(zip(layout, call.layout(name), strict=True)):
                if i == dim:
                    call.mix(other)
                else:
                    call.tie(mine, other)
    return with_axis(layout, dim, unlabelled(call.out_shape[dim]))


@rule(
    aten._log_softmax.default,
    samples=lambda: [sample(torch.randn(2, 6, 4), 2, False)],
)
@rule(
    aten.cumprod.default,
    aten.cumsum.default,
    aten.logcumsumexp.default,
    aten.log_softmax.int,
    aten.softmax.int,
    samples=lambda: [sample(torch.randn(2, 6, 4), 2), sample(torch.randn(2, 6, 4), 1)],
)
@rule(
    aten._softmax.default,
    samples=lambda: [sample(torch.randn(2, 6, 4), 2, False)],
)
def along_dimension(call: Call) -> Layout:
    """Apply a function of all of ``dim``, such as softmax, that keeps the shape; ``dim`` stays whole."""
    layout = call.layout("self")
    call.mix(layout[call.dim(call["dim"], len(layout))])
    return layout
