"""Operators that put dimensions in another order: permute, transpose, movedim."""

from __future__ import annotations

import torch

from graphprune.axes.layout import Layout

from .call import Call
from .registry import rule, sample, state_traits

__all__: list[str] = []

aten = torch.ops.aten


@rule(aten.permute.default, samples=lambda: [sample(torch.randn(2, 6, 4), [0, -1, 1])], quiet=True)
def permute(call: Call) -> Layout:
    """Put the dimensions in another order; each keeps its rows."""
    layout = call.layout("self")
    return tuple(layout[d] for d in call["dims"])


@rule(
    aten.swapaxes.default,
    aten.swapdims.default,
    aten.transpose.int,
    aten.transpose_.default,
    samples=lambda: [sample(torch.randn(2, 6, 4), 1, -1)],
    quiet=True,
)
def transpose(call: Call) -> Layout:
    """Exchange two dimensions; each keeps its rows."""
    out = list(call.layout("self"))
    first, second = (v for name, v in call.arguments.items() if name != "self")
    out[first], out[second] = out[second], out[first]
    return tuple(out)


@rule(
    aten.numpy_T.default,
    aten.t.default,
    aten.t_.default,
    samples=lambda: [sample(torch.randn(5, 6))],
    quiet=True,
)
def reverse_dimensions(call: Call) -> Layout:
    """Transpose a matrix, or reverse all dimensions."""
    return call.layout("self")[::-1]


@rule(aten.mT.default, samples=lambda: [sample(torch.randn(2, 5, 6))], quiet=True)
def transpose_matrices(call: Call) -> Layout:
    """Exchange the last two dimensions."""
    *rest, rows, columns = call.layout("self")
    return (*rest, columns, rows)


@rule(
    aten.movedim.int,
    aten.moveaxis.int,
    samples=lambda: [sample(torch.randn(2, 6, 4), 1, 2)],
    quiet=True,
)
def move_dimension(call: Call) -> Layout:
    """Move one dimension to another position."""
    out = list(call.layout("self"))
    axis = out.pop(call["source"])
    out.insert(call.dim(call["destination"], len(out) + 1), axis)
    return tuple(out)


state_traits(
    aten.mT.default,
    aten.moveaxis.int,
    aten.movedim.int,
    aten.permute.default,
    aten.swapaxes.default,
    aten.swapdims.default,
    aten.t.default,
    aten.transpose.int,
    moves=True,
)
