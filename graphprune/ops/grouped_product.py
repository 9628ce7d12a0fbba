"""Products in which each run of rows has a matrix of its own, as tokens have that are routed to experts."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch

from graphprune.axes.labels import unlabelled
from graphprune.axes.layout import Layout

from .call import Call
from .registry import rule, sample

__all__: list[str] = []

aten = torch.ops.aten


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
