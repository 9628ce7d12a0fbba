"""Operators that give a tensor another shape: view, flatten, squeeze, expand."""

from __future__ import annotations

import torch

from graphprune.axes.labels import Axis, unlabelled
from graphprune.axes.layout import Layout, reshape
from graphprune.axes.split import split
from graphprune.axes.unify import merge

from .call import Call
from .facts import resized
from .registry import rule, sample, state_traits

__all__: list[str] = []

aten = torch.ops.aten


@rule(
    aten._unsafe_view.default,
    aten.view.default,
    samples=lambda: [
        sample(torch.randn(2, 6, 4), [2, 24]),
        sample(torch.randn(2, 24), [2, 6, 4]),
        sample(torch.randn(2, 12), [2, 3, -1]),
        sample(torch.randn(2, 6, 2, 2), [2, 3, 2, 4]),
        sample(torch.randn(2, 6), [1, 2, 1, 6, 1]),
        sample(torch.randn(4, 6), [2, 2, 6]),
    ],
    quiet=True,
)
def view(call: Call) -> Layout:
    """Reshape a tensor in row-major order to ``size``."""
    return _to_sizes(call, "size")


@rule(aten.reshape.default, samples=lambda: [sample(torch.randn(2, 6, 4), [2, 24])], quiet=True)
def reshape_to(call: Call) -> Layout:
    """Reshape a tensor in row-major order to ``shape``."""
    return _to_sizes(call, "shape")


def _to_sizes(call: Call, argument: str) -> Layout:
    layout = reshape(call.labels, call.layout("self"), call.out_shape, call.link)
    call.rewrite_sizes(argument, layout)
    return layout


@rule(
    aten.reshape_as.default,
    aten.view_as.default,
    samples=lambda: [sample(torch.randn(2, 24), torch.randn(2, 6, 4))],
)
def reshape_like(call: Call) -> Layout:
    """Reshape a tensor to the shape of another, so their axes are tied."""
    layout = reshape(call.labels, call.layout("self"), call.out_shape, call.link)
    for mine, other in zip(layout, call.layout("other"), strict=True):
        call.tie(mine, other)
    return layout


@rule(
    aten.flatten.using_ints,
    samples=lambda: [
        sample(torch.randn(2, 6, 2, 2), 1),
        sample(torch.randn(2, 3, 4), 0, 1),
        sample(torch.randn(6)),
    ],
    quiet=True,
)
def flatten(call: Call) -> Layout:
    """Merge a run of dimensions into one."""
    layout = call.layout("self")
    start, stop = (call.dim(call[name], len(layout)) for name in ("start_dim", "end_dim"))
    return (*layout[:start], merge(layout[start : stop + 1]), *layout[stop + 1 :])


@rule(
    aten.unflatten.int,
    samples=lambda: [
        sample(torch.randn(2, 12, 3), 1, [3, 4]),
        sample(torch.randn(2, 12), -1, [-1, 4]),
    ],
    quiet=True,
)
def unflatten(call: Call) -> Layout:
    """Split one dimension into several."""
    layout, sizes = call.layout("self"), list(call["sizes"])
    dim = call.dim(call["dim"], len(layout))
    new = call.out_shape[dim : dim + len(sizes)]
    parts = split(call.labels, layout[dim], new, call.link)
    call.rewrite("sizes", lambda kept: resized(sizes, tuple(parts), kept))
    return (*layout[:dim], *parts, *layout[dim + 1 :])


@rule(
    aten.unsqueeze.default,
    aten.unsqueeze_.default,
    samples=lambda: [sample(torch.randn(2, 6), -1)],
    quiet=True,
)
def unsqueeze(call: Call) -> Layout:
    """Insert a dimension of size one."""
    out = list(call.layout("self"))
    out.insert(call.dim(call["dim"], len(out) + 1), unlabelled(1))
    return tuple(out)


@rule(
    aten.squeeze.default,
    aten.squeeze_.default,
    samples=lambda: [sample(torch.randn(2, 1, 6, 1))],
    quiet=True,
)
@rule(
    aten.squeeze.dim,
    aten.squeeze_.dim,
    samples=lambda: [sample(torch.randn(2, 6, 1), 2)],
    quiet=True,
)
@rule(
    aten.squeeze.dims,
    aten.squeeze_.dims,
    samples=lambda: [sample(torch.randn(2, 6, 1, 1), [2, 3])],
    quiet=True,
)
def squeeze(call: Call) -> Layout:
    """Drop dimensions of size one.

    After a cut the dimensions are spelled out: an axis of which a single channel is left must not be dropped.
    """
    layout = call.layout("self")
    value = call.get("dim")
    named = range(len(layout)) if value is None else value if isinstance(value, list) else [value]
    gone = {d % len(layout) for d in named if len(layout[d % len(layout)]) == 1}
    if value is None or len(gone) < len(list(named)):
        call.replace(lambda _: (aten.squeeze.dims, {"self": call["self"], "dim": sorted(gone)}))
    return tuple(axis for i, axis in enumerate(layout) if i not in gone)


@rule(
    aten.broadcast_to.default,
    aten.expand.default,
    samples=lambda: [
        sample(torch.randn(1, 6, 1), [2, 6, 5]),
        sample(torch.randn(6, 1), [2, -1, 8]),
    ],
)
def expand(call: Call) -> Layout:
    """Expand axes of size one; an expanded axis gets channels of its own."""
    layout, sizes = call.layout("self"), list(call["size"])
    offset = len(sizes) - len(layout)
    out: list[Axis] = []
    stretched: list[Axis] = []
    for i, size in enumerate(call.out_shape):
        old = layout[i - offset] if i >= offset else unlabelled(1)
        if isinstance(sizes[i], int) and len(old) != size:
            stretched.append(call.fresh(size, i))
            out.append(stretched[-1])
        else:
            out.append(old if len(old) == size else unlabelled(size))
    call.loud(*stretched, *(axis for axis in layout if not call.quiet("self", axis)))
    call.rewrite("size", lambda kept: resized(sizes, tuple(out), kept))
    return tuple(out)


@rule(
    aten.expand_as.default,
    samples=lambda: [sample(torch.randn(1, 6, 1), torch.randn(2, 6, 5))],
)
def expand_as(call: Call) -> Layout:
    """Expand a tensor to the shape of another."""
    other = call.layout("other")
    layout = call.layout("self")
    for mine, theirs in zip(layout, other[len(other) - len(layout) :], strict=True):
        if len(mine) == len(theirs):
            call.tie(mine, theirs)
    return other


@rule(
    aten.tril.default,
    aten.triu.default,
    samples=lambda: [sample(torch.randn(6, 3, 3))],
)
def triangle(call: Call) -> Layout:
    """Zero one side of the diagonal of the last two dimensions, which therefore stay whole."""
    layout = call.layout("self")
    call.freeze(*layout[-2:])
    return layout


@rule(aten.diagonal.default, samples=lambda: [sample(torch.randn(3, 6, 3), 0, 0, 2)])
def diagonal(call: Call) -> Layout:
    """Extract the diagonal of two dimensions, which stay whole, as a new last one."""
    layout = call.layout("self")
    dims = {call.dim(call[name], len(layout)) for name in ("dim1", "dim2")}
    call.freeze(*(layout[d] for d in dims))
    rest = (axis for d, axis in enumerate(layout) if d not in dims)
    return (*rest, unlabelled(call.out_shape[-1]))


_RESHAPES = (
    aten._unsafe_view.default,
    aten.flatten.using_ints,
    aten.reshape.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unflatten.int,
    aten.unsqueeze.default,
    aten.view.default,
)
state_traits(*_RESHAPES, view=True, moves=True)
state_traits(aten.expand.default, view=True)
