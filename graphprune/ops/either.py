"""A choice between two results: their channels are the same ones."""

from __future__ import annotations

import torch

from graphprune.axes.labels import unlabelled
from graphprune.axes.layout import Layout
from graphprune.ir.either import EITHER

from .call import Call
from .registry import rule, sample

__all__: list[str] = []


@rule(
    EITHER,
    samples=lambda: [
        sample(torch.tensor(True), torch.randn(2, 6), torch.randn(2, 6), "y"),
        sample(torch.tensor([False]), torch.randn(2, 6, 4), torch.randn(2, 6, 4), "y"),
        sample(torch.tensor(True), torch.randn(2, 6, 3), torch.randn(2, 6, 5), "y"),
    ],
    quiet=True,
)
def either(call: Call) -> Layout:
    """Give one of two tensors. An axis whose sizes differ stays whole, as either may come out."""
    first, second = call.layout("first"), call.layout("second")
    call.facts.because = "gives one of two results, whose sizes differ here"
    made = []
    for dim, (a, b, size) in enumerate(zip(first, second, call.out_shapes[0], strict=True)):
        if len(a) == len(b):
            call.tie(a, b)
            made.append(a)
            continue
        call.freeze(a, b)
        made.append(call.fresh(size, dim) if size > 1 else unlabelled(size))
        call.freeze(made[-1])
    return tuple(made)
