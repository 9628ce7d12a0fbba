"""Matrix products: the inner axis is contracted, every other axis is tied."""

from __future__ import annotations

import torch

from graphprune.labels import Axis, plain
from graphprune.layout import Layout
from graphprune.ops.elementwise import broadcast
from graphprune.ops.registry import Call, rule, sample

__all__: list[str] = []

aten = torch.ops.aten


@rule(
    aten.linear.default,
    samples=lambda: [
        sample(torch.randn(3, 6), torch.randn(8, 6), torch.randn(8)),
        sample(torch.randn(2, 5, 6), torch.randn(8, 6)),
        sample(torch.randn(6), torch.randn(8, 6)),
    ],
)
def linear(call: Call) -> Layout:
    """``y[..., o] = sum over i of w[o, i] * x[..., i]``; weight ``[out, in]``."""
    x, weight = call.layout("input"), call.layout("weight")
    call.tie(x[-1], weight[1])
    call.contract("weight", 1, weight[1])
    if call["bias"] is not None:
        call.tie(call.layout("bias")[0], weight[0])
    call.macs(1, *x[:-1], *weight)
    return (*x[:-1], weight[0])


@rule(
    aten.matmul.default,
    samples=lambda: [
        sample(torch.randn(4, 6), torch.randn(6, 8)),
        sample(torch.randn(2, 4, 6), torch.randn(6, 8)),
        sample(torch.randn(2, 3, 4, 6), torch.randn(2, 1, 6, 8)),
        sample(torch.randn(6), torch.randn(6)),
        sample(torch.randn(4, 6), torch.randn(6)),
        sample(torch.randn(6), torch.randn(6, 8)),
    ],
)
def matmul(call: Call) -> Layout:
    """``numpy.matmul``: batch axes broadcast, vectors are promoted to matrices."""
    return _product(call, "self", "other")


@rule(aten.bmm.default, samples=lambda: [sample(torch.randn(3, 4, 6), torch.randn(3, 6, 8))])
@rule(aten.mm.default, samples=lambda: [sample(torch.randn(4, 6), torch.randn(6, 8))])
def matrix_product(call: Call) -> Layout:
    """``[..., n, k] x [..., k, m]``."""
    return _product(call, "self", "mat2")


@rule(
    aten.addmm.default,
    samples=lambda: [sample(torch.randn(8), torch.randn(4, 6), torch.randn(6, 8))],
)
def addmm(call: Call) -> Layout:
    """``bias + a @ b``."""
    return broadcast(call, [_product(call, "mat1", "mat2"), call.layout("self")], 2)


@rule(
    aten.baddbmm.default,
    samples=lambda: [
        sample(torch.randn(3, 4, 8), torch.randn(3, 4, 6), torch.randn(3, 6, 8)),
    ],
)
def baddbmm(call: Call) -> Layout:
    """``bias + a @ b``, batch by batch."""
    return broadcast(call, [_product(call, "batch1", "batch2"), call.layout("self")], 3)


def _product(call: Call, left: str, right: str) -> Layout:
    x, y = call.layout(left), call.layout(right)
    rows: tuple[Axis, ...] = x[-2:-1]
    columns: tuple[Axis, ...] = y[-1:] if len(y) > 1 else ()
    inner = len(y) - 2 if len(y) > 1 else 0
    call.tie(x[-1], y[inner])
    call.contract(right, inner, y[inner])
    rank = max(len(x), len(y), 2) - 2
    batch = broadcast(call, [x[:-2], y[:-2]], rank)
    call.macs(1, *batch, *(rows or (plain(1),)), y[inner], *(columns or (plain(1),)))
    return (*batch, *rows, *columns)
