"""Reductions: sums, means, norms, maxima.

A sum is a contraction without a weight: where a removed channel is zero in it, so that it takes
no part, the channel may go, and a mean is corrected for the number of channels that are left.
Others, such as a maximum, need their dimensions whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from graphprune.axes.kept import Kept
from graphprune.axes.labels import Axis, unlabelled
from graphprune.axes.layout import Layout

from .call import Call
from .facts import Result, share
from .registry import Sample, rule, sample, state_traits

__all__: list[str] = []

aten = torch.ops.aten


def _dims(call: Call, rank: int) -> list[int]:
    value = call.get("dim")
    # A scalar has no dimension, but may be reduced over 0.
    if value is None or value == [] or not rank:
        return list(range(rank))
    values = value if isinstance(value, list | tuple) else [value]
    return sorted({call.dim(v, rank) for v in values})


def _left(call: Call, dims: Sequence[int]) -> Layout:
    """Derive the layout of the result."""
    return tuple(
        unlabelled(1) if i in dims else axis
        for i, axis in enumerate(call.layout("self"))
        if call.get("keepdim") or i not in dims
    )


def _freeze_reduced(call: Call) -> Layout:
    layout = call.layout("self")
    dims = _dims(call, len(layout))
    call.mix(*(layout[i] for i in dims))
    return _left(call, dims)


def _summed(call: Call) -> tuple[list[int], list[Axis]]:
    """State that a sum runs over the reduced dimensions; return these and their axes."""
    layout = call.layout("self")
    dims = _dims(call, len(layout))
    call.statistic("self", dims)
    return dims, [layout[i] for i in dims]


def _with_keepdim() -> list[Sample]:
    return [
        sample(torch.randn(2, 6, 4, 4), [2, 3]),
        sample(torch.randn(2, 6, 4), [-1], keepdim=True),
        sample(torch.randn(2, 6, 4), [1]),
    ]


@rule(aten.sum.dim_IntList, samples=_with_keepdim, quiet=True)
@rule(aten.sum.default, samples=lambda: [sample(torch.randn(2, 6))], quiet=True)
def summed(call: Call) -> Layout:
    """Sum over some dimensions, or all."""
    return _left(call, _summed(call)[0])


@rule(aten.mean.dim, samples=_with_keepdim, quiet=True)
@rule(aten.mean.default, samples=lambda: [sample(torch.randn(2, 6))], quiet=True)
def mean(call: Call) -> Layout:
    """Sum over some dimensions, or all, divided by how many there were before a cut."""
    dims, axes = _summed(call)
    call.scale("", lambda kept: share(kept, axes))
    return _left(call, dims)


@rule(
    aten.linalg_vector_norm.default,
    samples=lambda: [
        sample(torch.randn(2, 6, 4), 2, [2], True),
        sample(torch.randn(2, 6, 4), 1, [1]),
        sample(torch.randn(2, 6, 4), float("inf"), [1, 2]),
    ],
)
@rule(
    aten.norm.ScalarOpt_dim,
    samples=lambda: [sample(torch.randn(2, 6, 4), 2, [2], True)],
)
def norm(call: Call) -> Layout:
    """Compute a p-norm over some dimensions, where zeros don't count if p is positive."""
    order = call.get("ord") if "ord" in call.arguments else call["p"]
    if order is not None and not order > 0:
        return _freeze_reduced(call)
    left = _left(call, _summed(call)[0])
    call.loud(*(axis for axis in left if not call.quiet("self", axis)))
    return left


@rule(
    aten.std.dim,
    aten.var.dim,
    samples=lambda: [
        sample(torch.randn(2, 6, 4), [1]),
        sample(torch.randn(2, 6, 4), [1, 2], False),
    ],
)
@rule(
    aten.std.correction,
    aten.var.correction,
    samples=lambda: [
        sample(torch.randn(2, 6, 4), [2], keepdim=True),
        sample(torch.randn(2, 6, 4), [1], correction=0),
    ],
)
def spread(call: Call) -> Layout:
    """Compute a variance or standard deviation: a sum of squares about the mean, over its count."""
    layout = call.layout("self")
    dims = _dims(call, len(layout))
    axes = [layout[i] for i in dims]
    name = "unbiased" if "unbiased" in call.arguments else "correction"
    given: float | None = call[name]  # a truth value, if it is called ``unbiased``
    correction = 1.0 if given is None else float(given)
    sizes = [call["self"].meta["val"].shape[i] for i in dims]
    if not all(isinstance(size, int) for size in sizes):
        return _freeze_reduced(call)
    count = math.prod(sizes)
    power = 0.5 if call.node.target in _DEVIATIONS else 1.0

    def uncorrected(kept: Kept) -> float | None:
        """Divide by the number of rows that are left."""
        return given if share(kept, axes) == 1 else type(given or 0)(0)

    def factor(kept: Kept) -> float:
        """Divide by the number of all rows instead, less the correction."""
        left = share(kept, axes)
        return 1.0 if left == 1 else (count * left / max(count - correction, 1)) ** power

    call.statistic("self", dims, centred=True)
    call.rewrite(name, uncorrected)
    call.scale("", factor)
    return _left(call, dims)


_DEVIATIONS = (aten.std.dim, aten.std.correction)


@rule(
    aten.amax.default,
    aten.amin.default,
    samples=_with_keepdim,
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
    aten.all.default,
    aten.any.default,
    samples=lambda: [sample(torch.randn(2, 6) > 0, free=False)],
)
@rule(
    aten.all.dim,
    aten.any.dim,
    samples=lambda: [sample(torch.randn(2, 6, 4) > 0, 2, free=False)],
)
@rule(
    aten.max.default,
    aten.min.default,
    samples=lambda: [sample(torch.randn(2, 6), free=False)],
)
def reduce_whole(call: Call) -> Layout:
    """Reduce some dimensions, or all, in a way that has no neutral value."""
    return _freeze_reduced(call)


@rule(
    aten.kthvalue.default,
    samples=lambda: [sample(torch.randn(2, 6, 4), 2, 2)],
)
@rule(
    aten.max.dim,
    aten.median.dim,
    aten.min.dim,
    aten.mode.default,
    samples=lambda: [sample(torch.randn(2, 6, 4), 2)],
)
@rule(
    aten.aminmax.default,
    samples=lambda: [sample(torch.randn(2, 6, 4), dim=2)],
)
@rule(
    aten.std_mean.correction,
    aten.std_mean.dim,
    aten.var_mean.correction,
    aten.var_mean.dim,
    samples=lambda: [sample(torch.randn(2, 6, 4), [2], keepdim=True)],
)
def two_reductions(call: Call) -> Result:
    """Reduce some dimensions to two results of the same shape."""
    return [_freeze_reduced(call)] * 2


state_traits(
    aten.argmax.default,
    aten.argmin.default,
    aten.max.dim,
    aten.median.dim,
    aten.min.dim,
    orders=True,
)
