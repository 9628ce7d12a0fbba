"""Operators that put values in order, or find and count them: sort, topk, searchsorted. The searched axis stays whole."""

from __future__ import annotations

import torch

from graphprune.axes.labels import unlabelled
from graphprune.axes.layout import Layout

from .call import Call
from .facts import Result
from .registry import rule, sample, state_traits
from .softmax import along_dimension

__all__: list[str] = []

aten = torch.ops.aten


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
    return [along_dimension(call)] * 2


@rule(aten.argsort.default, samples=lambda: [sample(torch.randn(2, 6, 4))])
def argsort(call: Call) -> Layout:
    """Return the indices that sort a tensor along ``dim``."""
    return along_dimension(call)


@rule(
    aten.bincount.default,
    samples=lambda: [
        sample(torch.tensor([1, 0, 1, 3]), free=False),
        sample(torch.tensor([1, 0, 1, 3]), torch.rand(4), free=False),
    ],
)
@rule(
    aten.histc.default,
    samples=lambda: [sample(torch.rand(6), 4, 0, 1, free=False)],
)
def histogram(call: Call) -> Layout:
    """Count how often each value occurs, or add up its weights."""
    call.mix(*call.layout("self"))
    if call.get("weights") is not None:
        call.mix(*call.layout("weights"))
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
    samples=lambda: [
        sample(torch.tensor([1, 3, 5]), torch.tensor([[2, 4]]), free=False),
        sample(
            torch.tensor([3, 1, 5]),
            torch.tensor([[2, 4]]),
            sorter=torch.tensor([1, 0, 2]),
            free=False,
        ),
    ],
)
@rule(
    aten.bucketize.Tensor,
    samples=lambda: [sample(torch.tensor([[2, 4]]), torch.tensor([1, 3, 5]), free=False)],
)
def between(call: Call) -> Layout:
    """Find the positions of values among sorted boundaries, which stay whole."""
    values = call.layout("self")
    for argument in ("sorted_sequence", "boundaries", "sorter"):
        if call.get(argument) is not None:
            call.freeze(*call.layout(argument))
    if call.get("sorted_sequence") is not None:  # whose leading dimensions are those of the values
        call.freeze(*values[:-1])
    return values


state_traits(
    aten.topk.default,
    aten.sort.default,
    aten.sort.stable,
    aten.argsort.default,
    orders=True,
)
