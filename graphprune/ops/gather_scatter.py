"""Scatter, sort and grouped-product operators, whose indexed dimensions stay whole.

Routing of tokens to experts is made of these. Axes that aren't indexed are handed on.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch

from graphprune.axes.labels import unlabelled
from graphprune.axes.layout import Layout

from .call import Call
from .embedding import consumed, tie_others
from .facts import Result
from .registry import rule, sample

__all__ = ["consumed"]

aten = torch.ops.aten


@rule(
    aten.index_put.default,
    aten.index_put_.default,
    samples=lambda: [
        sample(torch.randn(5, 6), [torch.tensor([0, 2])], torch.randn(2, 6)),
        sample(torch.randn(5, 4, 6), [torch.tensor([0, 2]), torch.tensor([1, 1])], torch.randn(6)),
        sample(torch.randn(2, 3, 6), [torch.rand(2, 3) > 0.5], torch.randn(())),
        sample(torch.randn(6, 5), [None, torch.tensor([0, 2])], torch.randn(2), free=False),
    ],
)
def index_put(call: Call) -> Layout:
    """Write values at indices, ``x[i, j] = values``; if indexed dimensions come first, others are tied."""
    layout, values = call.layout("self"), call.layout("values")
    dims = consumed(call["indices"])
    rest = [axis for i, axis in enumerate(layout) if i not in dims]
    leading = dims == list(range(len(dims)))
    passing = min(len(rest), len(values)) if leading else 0
    call.freeze(*(layout[i] for i in dims), *values[: len(values) - passing])
    call.freeze(
        *(axis for item in call["indices"] if item is not None for axis in call.layout(item))
    )
    if not leading:
        call.freeze(*rest)
    for mine, other in zip(
        rest[len(rest) - passing :], values[len(values) - passing :], strict=True
    ):
        if len(other) == len(mine):
            call.tie(mine, other)
    return layout


@rule(
    aten.select_scatter.default,
    samples=lambda: [sample(torch.randn(2, 6, 4), torch.randn(2, 6), 2, 1)],
)
@rule(
    aten.slice_scatter.default,
    samples=lambda: [sample(torch.randn(2, 6, 4), torch.randn(2, 6, 2), 2, 1, 3)],
)
def put_rows(call: Call) -> Layout:
    """Overwrite some rows along ``dim``, which stays whole; the other dimensions are tied."""
    layout, rows = call.layout("self"), call.layout("src")
    dim = call.dim(call["dim"], len(layout))
    rest = (*layout[:dim], *layout[dim + 1 :])
    call.freeze(layout[dim], *(rows[dim : dim + 1] if len(rows) == len(layout) else ()))
    others = (*rows[:dim], *rows[dim + 1 :]) if len(rows) == len(layout) else rows
    for mine, theirs in zip(rest, others, strict=True):
        call.tie(mine, theirs)
    return layout


@rule(
    aten.scatter.src,
    aten.scatter_.src,
    aten.scatter_add.default,
    aten.scatter_add_.default,
    samples=lambda: [
        sample(torch.randn(2, 6), 1, torch.tensor([[4, 0], [1, 1]]), torch.randn(2, 2), free=False),
    ],
)
@rule(
    aten.scatter_reduce.two,
    samples=lambda: [
        sample(
            torch.randn(2, 6),
            1,
            torch.tensor([[4, 0], [1, 1]]),
            torch.randn(2, 2),
            "amax",
            free=False,
        ),
    ],
)
def scatter(call: Call) -> Layout:
    """Scatter ``x[index[i][j]][j] = src[i][j]`` (``dim`` 0): the other dimensions are tied."""
    layout = call.layout("self")
    dim = call.dim(call["dim"], len(layout))
    tie_others(call, dim, layout, call.layout("index"))
    tie_others(call, dim, layout, call.layout("src"))
    return layout


@rule(
    aten.scatter.value,
    aten.scatter_.value,
    samples=lambda: [sample(torch.randn(2, 6), 1, torch.tensor([[4], [1]]), 0.5, free=False)],
)
def scatter_value(call: Call) -> Layout:
    """Scatter one value, ``x[index[i][j]][j] = value`` (``dim`` 0)."""
    layout = call.layout("self")
    tie_others(call, call.dim(call["dim"], len(layout)), layout, call.layout("index"))
    return layout


@rule(
    aten.index_fill.int_Scalar,
    aten.index_fill_.int_Scalar,
    samples=lambda: [sample(torch.randn(5, 6), 0, torch.tensor([3, 1]), 0.5)],
)
def index_fill(call: Call) -> Layout:
    """Overwrite rows along ``dim`` by one value, ``x[index[i]] = value``."""
    layout = call.layout("self")
    call.freeze(layout[call.dim(call["dim"], len(layout))], *call.layout("index"))
    return layout


@rule(
    aten.index_add.default,
    aten.index_add_.default,
    aten.index_copy.default,
    samples=lambda: [sample(torch.randn(5, 6), 0, torch.tensor([3, 1]), torch.randn(2, 6))],
)
def index_add(call: Call) -> Layout:
    """Add to rows along ``dim``, ``x[index[i]] += source[i]``; the other dimensions are tied."""
    layout = call.layout("self")
    call.freeze(*call.layout("index"))
    tie_others(call, call.dim(call["dim"], len(layout)), layout, call.layout("source"))
    return layout


@rule(
    aten.topk.default,
    samples=lambda: [sample(torch.randn(2, 6, 4), 2), sample(torch.randn(2, 6, 4), 3, 1)],
)
def largest(call: Call) -> Result:
    """Find the ``k`` largest values along ``dim`` and their indices."""
    layout = call.layout("self")
    dim = call.dim(call["dim"], len(layout))
    call.mix(layout[dim])
    return [(*layout[:dim], unlabelled(call.out_shapes[0][dim]), *layout[dim + 1 :])] * 2


@rule(
    aten.sort.default,
    samples=lambda: [sample(torch.randn(2, 6, 4)), sample(torch.randn(2, 6, 4), 1)],
)
@rule(
    aten.sort.stable,
    samples=lambda: [sample(torch.randn(2, 6, 4), stable=True)],
)
def sort(call: Call) -> Result:
    """Sort along ``dim``; results: values and indices."""
    return [_ordered(call)] * 2


@rule(aten.argsort.default, samples=lambda: [sample(torch.randn(2, 6, 4))])
def argsort(call: Call) -> Layout:
    """Return the indices that sort a tensor along ``dim``."""
    return _ordered(call)


def _ordered(call: Call) -> Layout:
    layout = call.layout("self")
    call.mix(layout[call.dim(call["dim"], len(layout))])
    return layout


@rule(
    aten.bincount.default,
    samples=lambda: [sample(torch.tensor([1, 0, 1, 3]), free=False)],
)
@rule(
    aten.histc.default,
    samples=lambda: [sample(torch.rand(6), 4, 0, 1, free=False)],
)
def histogram(call: Call) -> Layout:
    """Count how often each value occurs."""
    call.mix(*call.layout("self"))
    return tuple(unlabelled(size) for size in call.out_shape)


@rule(
    aten.one_hot.default,
    samples=lambda: [sample(torch.tensor([[1, 0, 3]]), 4, free=False)],
)
def one_hot(call: Call) -> Layout:
    """Encode values one-hot: a new last dimension that is 1 at the value's position."""
    return (*call.layout("self"), unlabelled(call.out_shape[-1]))


@rule(
    aten.searchsorted.Tensor,
    samples=lambda: [sample(torch.tensor([1, 3, 5]), torch.tensor([[2, 4]]), free=False)],
)
@rule(
    aten.bucketize.Tensor,
    samples=lambda: [sample(torch.tensor([[2, 4]]), torch.tensor([1, 3, 5]), free=False)],
)
def between(call: Call) -> Layout:
    """Find the positions of values among sorted boundaries, which stay whole."""
    values = call.layout("self")
    for argument in ("sorted_sequence", "boundaries"):
        if call.get(argument) is not None:
            call.freeze(*call.layout(argument))
    call.freeze(*(values[:-1] if call.get("sorted_sequence") is not None else ()))
    return values


def _grouped(call: Call, x: Layout, weight: Layout) -> Layout:
    """Link a product in which each run of rows ``x[..., k]`` has a weight ``[run, k, out]`` of its own."""
    call.freeze(x[0], weight[0], *call.layout("offs"))
    call.tie(x[-1], weight[1])
    call.macs(1, *x, weight[2])
    return (x[0], weight[2])


@rule(
    "transformers::grouped_mm_fallback",
    samples=lambda: [
        sample(torch.randn(7, 6), torch.randn(3, 6, 8), torch.tensor([2, 2, 7])),
    ],
)
def grouped_product(call: Call) -> Layout:
    """Multiply each run of rows, which ends at an offset, by a matrix of its own: ``[runs, in, out]``."""
    call.contract("weight", 1, call.layout("weight")[1])
    return _grouped(call, call.layout("input"), call.layout("weight"))


def _in_runs(
    x: torch.Tensor, y: torch.Tensor, offs: torch.Tensor | None = None, *_: Any, **__: Any
) -> torch.Tensor:
    if offs is None:
        return x @ y
    runs = pairwise([0, *offs.tolist()])
    return torch.cat([x[a:b] @ y[i] for i, (a, b) in enumerate(runs)])


@rule(
    aten._grouped_mm.default,
    in_float64=_in_runs,
    samples=lambda: [
        sample(torch.randn(8, 16), torch.randn(2, 16, 8), torch.tensor([4, 8], dtype=torch.int32)),
        sample(torch.randn(2, 8, 16), torch.randn(2, 16, 8)),
    ],
)
def grouped_mm(call: Call) -> Layout:
    """Multiply runs of rows, or batches, by matrices of their own; runs along other axes freeze all."""
    x, y = call.layout("self"), call.layout("mat2")
    if len(y) == 2:
        call.freeze(*x, *y, *call.layout("offs"))
        return tuple(unlabelled(size) for size in call.out_shape)
    call.contract("mat2", 1, y[1])
    if len(x) == 2:
        return _grouped(call, x, y)
    call.tie(x[0], y[0])
    call.tie(x[2], y[1])
    call.macs(1, *x, y[2])
    return (x[0], x[1], y[2])
