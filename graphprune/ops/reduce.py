"""Operators that mix a dimension: the dimensions they run over stay whole.

Summing over channels isn't a contraction: there is no weight to silence, so removing a
channel would change the result.
"""

from __future__ import annotations

import torch

from graphprune.labels import plain
from graphprune.layout import Layout
from graphprune.ops.registry import Call, Result, rule, sample

__all__: list[str] = []

aten = torch.ops.aten


def _dims(call: Call, rank: int) -> set[int]:
    value = call.get("dim")
    if value is None or value == []:
        return set(range(rank))
    values = value if isinstance(value, list | tuple) else [value]
    return {call.dim(v, rank) for v in values}


def _reduced(call: Call, keepdim: bool) -> Layout:
    layout = call.layout("self")
    dims = _dims(call, len(layout))
    call.mix(*(layout[i] for i in dims))
    return tuple(
        plain(1) if i in dims else axis
        for i, axis in enumerate(layout)
        if keepdim or i not in dims
    )


@rule(
    aten.amax.default,
    aten.amin.default,
    aten.mean.dim,
    aten.std.dim,
    aten.sum.dim_IntList,
    aten.var.dim,
    samples=lambda: [
        sample(torch.randn(2, 6, 4, 4), [2, 3]),
        sample(torch.randn(2, 6, 4), [-1], keepdim=True),
        sample(torch.randn(2, 6, 4), [1]),
    ],
)
@rule(
    aten.std.correction,
    aten.var.correction,
    samples=lambda: [sample(torch.randn(2, 6, 4), [2], keepdim=True)],
)
@rule(
    aten.logsumexp.default,
    samples=lambda: [sample(torch.randn(2, 6, 4), [2])],
)
@rule(
    aten.argmax.default,
    aten.argmin.default,
    aten.prod.dim_int,
    samples=lambda: [sample(torch.randn(2, 6, 4), 2), sample(torch.randn(2, 6, 4), 1)],
)
@rule(
    aten.linalg_vector_norm.default,
    samples=lambda: [sample(torch.randn(2, 6, 4), 2, [2], True)],
)
def reduction(call: Call) -> Layout:
    """Reduce some dimensions; the others pass."""
    return _reduced(call, bool(call["keepdim"]))


@rule(
    aten.norm.ScalarOpt_dim,
    samples=lambda: [sample(torch.randn(2, 6, 4), 2, [2], True)],
)
def norm(call: Call) -> Layout:
    """p-norm over some dimensions."""
    return _reduced(call, bool(call["keepdim"]))


@rule(
    aten.max.default,
    aten.mean.default,
    aten.min.default,
    aten.sum.default,
    samples=lambda: [sample(torch.randn(2, 6), free=False)],
)
def total(call: Call) -> Layout:
    """Reduce everything."""
    return _reduced(call, keepdim=False)


@rule(
    aten.max.dim,
    aten.min.dim,
    samples=lambda: [sample(torch.randn(2, 6, 4), 2)],
)
@rule(
    aten.std_mean.correction,
    aten.var_mean.correction,
    samples=lambda: [sample(torch.randn(2, 6, 4), [2], keepdim=True)],
)
def two_reductions(call: Call) -> Result:
    """Reductions with two results of the same shape."""
    return [_reduced(call, bool(call["keepdim"]))] * 2


@rule(aten.diff.default, samples=lambda: [sample(torch.randn(2, 6, 4))])
def differences(call: Call) -> Layout:
    """Differences of neighbours along ``dim``, which therefore stays whole."""
    layout = call.layout("self")
    dim = call.dim(call["dim"], len(layout))
    call.mix(layout[dim])
    return (*layout[:dim], plain(call.out_shape[dim]), *layout[dim + 1 :])


@rule(
    aten._log_softmax.default,
    samples=lambda: [sample(torch.randn(2, 6, 4), 2, False)],
)
@rule(
    aten.cumprod.default,
    aten.cumsum.default,
    aten.log_softmax.int,
    aten.softmax.int,
    samples=lambda: [sample(torch.randn(2, 6, 4), 2), sample(torch.randn(2, 6, 4), 1)],
)
@rule(
    aten._softmax.default,
    samples=lambda: [sample(torch.randn(2, 6, 4), 2, False)],
)
def along_dimension(call: Call) -> Layout:
    """Shape-preserving, but every element depends on its whole row along ``dim``."""
    layout = call.layout("self")
    call.mix(layout[call.dim(call["dim"], len(layout))])
    return layout
