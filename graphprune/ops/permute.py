"""Operators that reverse, rotate, repeat or pad the rows of an axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import fx

from graphprune.axes.kept import Kept
from graphprune.axes.labels import Axis, unlabelled
from graphprune.axes.layout import Layout, with_axis

from .call import Call
from .concatenate import stack_rows
from .registry import rule, sample

__all__: list[str] = []

aten = torch.ops.aten


@rule(aten.flip.default, samples=lambda: [sample(torch.randn(2, 6, 3), [1])], quiet=True)
def flip(call: Call) -> Layout:
    """Reverse the order of the rows of some axes."""
    out = list(call.layout("self"))
    for dim in call["dims"]:
        out[dim] = out[dim][::-1]
    return tuple(out)


@rule(
    aten.roll.default,
    samples=lambda: [sample(torch.randn(2, 6, 3), [1], [2]), sample(torch.randn(2, 6), [2], [1])],
    quiet=True,
)
def roll(call: Call) -> Layout:
    """Rotate some axes by a fixed number of rows, so these must stay."""
    layout = call.layout("self")
    dims = [d % len(layout) for d in call["dims"]] or list(range(len(layout)))
    call.freeze(*(layout[d] for d in dims))
    return layout


@rule(
    aten.repeat.default,
    samples=lambda: [sample(torch.randn(6, 3), [2, 2, 1]), sample(torch.randn(2, 1), [1, 6])],
)
@rule(
    aten.tile.default,
    samples=lambda: [sample(torch.randn(6, 3), [2, 2, 1]), sample(torch.randn(2, 4, 1), [6])],
)
def repeat(call: Call) -> Layout:
    """Tile axes; an axis of size one that is tiled gets channels of its own."""
    name = "repeats" if "repeats" in call.arguments else "dims"
    layout, times = call.layout("self"), list(call[name])
    times = [1] * (len(layout) - len(times)) + times
    layout = (*(unlabelled(1) for _ in range(len(times) - len(layout))), *layout)
    out = [
        _repeated(call, i, axis, n) for i, (axis, n) in enumerate(zip(layout, times, strict=True))
    ]
    call.rewrite(
        name,
        lambda kept: [
            int(alive.sum()) if len(old) == 1 and not (alive := kept(new)).all() else n
            for n, old, new in zip(times, layout, out, strict=True)
        ],
    )
    return tuple(out)


def _repeated(call: Call, i: int, axis: Axis, times: int | fx.Node) -> Axis:
    if isinstance(times, fx.Node):
        call.freeze(axis)
        return unlabelled(call.out_shape[i])
    return call.fresh(times, i) if len(axis) == 1 else np.tile(axis, (times, 1))


@rule(
    aten.repeat_interleave.self_int,
    samples=lambda: [
        sample(torch.randn(2, 6), 3, 1),
        sample(torch.randn(2, 6), 3, -1, output_size=18),
    ],
    quiet=True,
)
def repeat_interleave(call: Call) -> Layout:
    """Repeat each row ``repeats`` times in succession."""
    layout = call.layout("self")
    if call["dim"] is None or isinstance(call["repeats"], fx.Node):
        return _repeated_by_counts(call)
    dim = call.dim(call["dim"], len(layout))
    repeated = np.repeat(layout[dim], call["repeats"], axis=0)
    if isinstance(call["output_size"], int):
        call.rewrite("output_size", lambda kept: int(kept(repeated).sum()))
    return with_axis(layout, dim, repeated)


@rule(
    aten.repeat_interleave.self_Tensor,
    samples=lambda: [
        sample(torch.randn(3, 6), torch.tensor([2, 1, 3]), 0),
        sample(torch.randn(2, 6, 3), torch.tensor([0, 1, 2]), -1),
        sample(torch.randn(2, 6), torch.tensor([1, 1, 2, 1, 1, 1]), 1),
        sample(torch.randn(6), torch.tensor([1, 1, 2, 1, 1, 1]), free=False),
    ],
    quiet=True,
)
def repeat_interleave_by_counts(call: Call) -> Layout:
    """Repeat each row as often as its count says; that dimension stays whole, others are handed on."""
    call.freeze(*call.layout("repeats"))
    return _repeated_by_counts(call)


@rule(
    aten.repeat_interleave.Tensor,
    samples=lambda: [sample(torch.tensor([2, 1, 3]), free=False)],
)
def repeated_numbers(call: Call) -> Layout:
    """List the number of each row as often as its count says."""
    call.freeze(*call.layout("repeats"))
    return (unlabelled(call.out_shape[0]),)


def _repeated_by_counts(call: Call) -> Layout:
    """Freeze the dimension whose rows are repeated by a computed count; without one, all."""
    layout = call.layout("self")
    if call["dim"] is None:
        call.freeze(*layout)
        return (unlabelled(call.out_shape[0]),)
    dim = call.dim(call["dim"], len(layout))
    call.freeze(layout[dim])
    return with_axis(layout, dim, unlabelled(call.out_shape[dim]))


@rule(
    aten.constant_pad_nd.default,
    samples=lambda: [sample(torch.randn(2, 6, 3), [1, 1, 2, 3], 0.5)],
)
@rule(
    aten.pad.default,
    samples=lambda: [
        sample(torch.randn(2, 6, 3), [1, 1, 2, 3]),
        sample(torch.randn(2, 6, 3), [0, 0, -1, 3]),
        sample(torch.randn(2, 6, 5), [1, 1], "reflect"),
    ],
)
def pad(call: Call) -> Layout:
    """Pad axes with rows whose labels occur in no parameter; a negative padding crops."""
    layout, amounts = list(call.layout("self")), list(call["pad"])
    constant = call.get("mode") in (None, "constant")
    edges: list[tuple[Axis, Axis] | None] = []
    for i in range(len(amounts) // 2):
        dim, (before, after) = len(layout) - 1 - i, amounts[2 * i : 2 * i + 2]
        literal = isinstance(before, int) and isinstance(after, int)
        if layout[dim].shape[1] and literal and constant:
            layout[dim], edge = _padded(call, layout[dim], dim, before, after)
            edges.append(edge)
        else:
            if (before, after) != (0, 0):
                call.freeze(layout[dim])
                layout[dim] = unlabelled(call.out_shape[dim])
            edges.append(None)

    def value(kept: Kept) -> list[Any]:
        out: list[Any] = []
        for i, edge in enumerate(edges):
            old = amounts[2 * i : 2 * i + 2]
            out += (
                old
                if edge is None
                else [
                    int(kept(rows).sum()) * (1 if n >= 0 else -1)
                    for n, rows in zip(old, edge, strict=True)
                ]
            )
        return out

    call.rewrite("pad", value)
    return tuple(layout)


def _padded(
    call: Call, axis: Axis, dim: int, before: int, after: int
) -> tuple[Axis, tuple[Axis, Axis]]:
    """Return the padded axis, and the rows added (or cropped) at either end."""
    head = call.fresh(before, (dim, 0)) if before >= 0 else axis[:-before]
    tail = call.fresh(after, (dim, 1)) if after >= 0 else axis[after:]
    middle = axis[max(-before, 0) : len(axis) - max(-after, 0)]
    parts = [head] * (before > 0) + [middle] + [tail] * (after > 0)
    return stack_rows(parts), (head, tail)
