"""Distances and similarities, which compare a dimension of both operands; it stays whole."""

from __future__ import annotations

import torch

from graphprune.axes.labels import Axis, unlabelled
from graphprune.axes.layout import Layout

from .broadcast import broadcast
from .call import Call
from .registry import rule, sample

__all__: list[str] = []

aten = torch.ops.aten


@rule(
    aten.cosine_similarity.default,
    samples=lambda: [
        sample(torch.randn(3, 6, 4), torch.randn(3, 6, 4), 2),
        sample(torch.randn(3, 1, 4), torch.randn(6, 4), -1),
    ],
)
def similarity(call: Call) -> Layout:
    """Cosine similarity ``x . y / (|x| |y|)`` along ``dim`` of the broadcast operands."""
    first, second = call.layout("x1"), call.layout("x2")
    rank = max(len(first), len(second))
    return _compared(call, first, second, call.dim(call["dim"], rank))


@rule(
    aten.pairwise_distance.default,
    samples=lambda: [
        sample(torch.randn(3, 6, 4), torch.randn(3, 6, 4)),
        sample(torch.randn(6, 4), torch.randn(4), keepdim=True),
    ],
)
def distance(call: Call) -> Layout:
    """Distance ``|x - y|`` along the last dimension."""
    first, second = call.layout("x1"), call.layout("x2")
    out = _compared(call, first, second, max(len(first), len(second)) - 1)
    return (*out, unlabelled(1)) if call["keepdim"] else out


def _compared(call: Call, first: Layout, second: Layout, dim: int) -> Layout:
    rank = max(len(first), len(second))
    call.mix(*_at(first, dim, rank), *_at(second, dim, rank))
    out = broadcast(call, [first, second], rank)
    return (*out[:dim], *out[dim + 1 :])


def _at(layout: Layout, dim: int, rank: int) -> tuple[Axis, ...]:
    own = dim - (rank - len(layout))
    return layout[own : own + 1] if own >= 0 else ()


@rule(
    aten.cdist.default,
    samples=lambda: [
        sample(torch.randn(6, 5, 4), torch.randn(6, 3, 4)),
        sample(torch.randn(6, 4), torch.randn(3, 4)),
    ],
)
def distances(call: Call) -> Layout:
    """Distances between all pairs of rows: ``[..., n, k] x [..., m, k] -> [..., n, m]``."""
    first, second = call.layout("x1"), call.layout("x2")
    call.mix(first[-1], second[-1])
    batch = broadcast(call, [first[:-2], second[:-2]], max(len(first), len(second)) - 2)
    return (*batch, first[-2], second[-2])
