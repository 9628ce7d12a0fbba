"""Operators that write rows at indices: scatter, index_put, index_add. Axes that aren't indexed are handed on."""

from __future__ import annotations

import torch

from graphprune.axes.layout import Layout

from .call import Call
from .embedding import consumed, tie_others
from .registry import rule, sample

__all__: list[str] = []

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
