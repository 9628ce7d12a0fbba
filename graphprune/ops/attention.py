"""Scaled dot-product attention: two contractions with a softmax between them.

Attention written out as matmul, softmax, matmul needs no rule of its own.
"""

from __future__ import annotations

import math

import torch

from graphprune.axes.kept import Kept
from graphprune.axes.labels import Axis
from graphprune.axes.layout import Layout
from graphprune.axes.split import split

from .broadcast import broadcast
from .call import Call
from .registry import Sample, rule, sample

__all__: list[str] = []

aten = torch.ops.aten


def _samples() -> list[Sample]:
    q, k, v = torch.randn(2, 4, 5, 6), torch.randn(2, 4, 7, 6), torch.randn(2, 4, 7, 8)
    grouped = torch.randn(2, 2, 7, 6), torch.randn(2, 2, 7, 8)
    return [
        sample(q, k, v),
        sample(q, k, v, torch.randn(1, 4, 5, 7), scale=0.3),
        sample(torch.randn(2, 7, 6), k[:, 0], v[:, 0], is_causal=True),
        sample(q, *grouped, enable_gqa=True),
    ]


@rule(aten.scaled_dot_product_attention.default, samples=_samples)
def attention(call: Call) -> Layout:
    """Attention ``softmax(q kᵀ * scale + mask) v``; q ``[..., L, E]``, k ``[..., S, E]``, v ``[..., S, V]``.

    E is contracted; the default scale ``1 / sqrt(E)`` is pinned to its dense value. Leading
    axes, such as heads, are tied; with grouped queries the outer factor of the query heads is.
    """
    q, k, v = (call.layout(name) for name in ("query", "key", "value"))
    call.tie(q[-1], k[-1])
    call.contract("key", len(k) - 1, k[-1], partner=("query", len(q) - 1, None))
    call.freeze(q[-2], k[-2], v[-2])
    batch = _batch(call, q[:-2], k[:-2], v[:-2])
    if call["attn_mask"] is not None:
        broadcast(call, [(*batch, q[-2], k[-2]), call.layout("attn_mask")], len(q))
    if call["scale"] is None:
        dense = 1 / math.sqrt(len(q[-1]))
        call.rewrite("scale", lambda kept: _pinned(kept, q[-1], dense))
    call.macs(1, *batch, q[-2], k[-2], q[-1])
    call.macs(1, *batch, q[-2], k[-2], v[-1])
    return (*batch, q[-2], v[-1])


def _pinned(kept: Kept, axis: Axis, dense: float) -> float | None:
    return None if kept(axis).all() else dense


def _batch(call: Call, q: Layout, k: Layout, v: Layout) -> Layout:
    grouped = call["enable_gqa"] and len(q[-1]) != len(k[-1])
    if not grouped:
        return broadcast(call, [q, k, v], len(q))
    outer, _ = split(call.labels, q[-1], [len(k[-1]), len(q[-1]) // len(k[-1])], call.link)
    call.tie(outer, k[-1])
    call.tie(outer, v[-1])
    return (*broadcast(call, [q[:-1], k[:-1], v[:-1]], len(q) - 1), q[-1])
