"""Operators that join, pick, repeat or reorder the rows of an axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from graphprune.labels import Axis, plain
from graphprune.layout import Layout, widened
from graphprune.ops.registry import Call, Kept, Result, rule, sample

__all__: list[str] = []

aten = torch.ops.aten


def _with(layout: Layout, dim: int, axis: Axis) -> Layout:
    return (*layout[:dim], axis, *layout[dim + 1 :])


def _stack_rows(axes: Sequence[Axis]) -> Axis:
    width = max(axis.shape[1] for axis in axes)
    return np.concatenate([widened(axis, width) for axis in axes])


@rule(
    aten.cat.default,
    samples=lambda: [
        sample([torch.randn(2, 6, 3), torch.randn(2, 4, 3)], 1),
        sample([torch.randn(2, 6), torch.randn(2, 4), torch.randn(2, 2)], -1),
    ],
)
@rule(
    aten.concat.default,
    aten.concatenate.default,
    samples=lambda: [sample([torch.randn(2, 6, 3), torch.randn(2, 4, 3)], 1)],
)
def concatenate(call: Call) -> Layout:
    """Rows of the inputs after one another; the other axes are tied."""
    layouts = [layout for layout in call.layouts("tensors") if layout]
    rank = max(len(layout) for layout in layouts)
    layouts = [layout for layout in layouts if len(layout) == rank]  # legacy empty tensors
    dim = call.dim(call["dim"], rank)
    first, *others = layouts
    for other in others:
        for i in range(rank):
            if i != dim:
                call.tie(first[i], other[i])
    return _with(first, dim, _stack_rows([layout[dim] for layout in layouts]))


@rule(
    aten.stack.default,
    samples=lambda: [sample([torch.randn(2, 6), torch.randn(2, 6)], 1)],
)
def stack(call: Call) -> Layout:
    """A new axis over inputs whose axes are all tied."""
    first, *others = call.layouts("tensors")
    for other in others:
        for mine, theirs in zip(first, other, strict=True):
            call.tie(mine, theirs)
    dim = call.dim(call["dim"], len(first) + 1)
    return (*first[:dim], plain(1 + len(others)), *first[dim:])


def _pieces(call: Call, sizes: Sequence[int]) -> Result:
    """Consecutive runs of rows; after a cut, each run has the rows that are left of it."""
    layout = call.layout("self")
    dim = call.dim(call["dim"], len(layout))
    runs = np.split(layout[dim], np.cumsum(sizes)[:-1])

    def make(kept: Kept) -> tuple[Any, dict[str, Any]] | None:
        left = [int(kept(run).sum()) for run in runs]
        if left == [len(run) for run in runs]:
            return None
        arguments = {"self": call["self"], "split_sizes": left, "dim": call["dim"]}
        return aten.split_with_sizes.default, arguments

    if layout[dim].shape[1]:
        call.replace(make)
    return [_with(layout, dim, run) for run in runs]


@rule(
    aten.chunk.default,
    samples=lambda: [sample(torch.randn(2, 12), 3, 1), sample(torch.randn(2, 7), 3, 1)],
)
@rule(
    aten.split_with_sizes.default,
    samples=lambda: [sample(torch.randn(2, 12), [3, 4, 5], 1)],
)
@rule(
    aten.split.Tensor,
    samples=lambda: [sample(torch.randn(2, 12), 5, -1)],
)
@rule(
    aten.split.sizes,
    samples=lambda: [sample(torch.randn(2, 12), [3, 4, 5], 1)],
)
@rule(
    aten.tensor_split.sections,
    samples=lambda: [sample(torch.randn(2, 11), 3, 1)],
)
def pieces(call: Call) -> Result:
    """Split an axis into consecutive runs."""
    layout = call.layout("self")
    dim = call.dim(call["dim"], len(layout))
    return _pieces(call, [shape[dim] for shape in call.out_shapes])


def _picked(call: Call, dim: int, rows: NDArray[np.int64]) -> Layout:
    """Rows picked by a constant; after a cut, picked as a slice or by an index tensor."""
    layout = call.layout("self")
    axis = layout[dim]
    picked = axis[rows]

    def make(kept: Kept) -> tuple[Any, dict[str, Any]] | None:
        alive = kept(axis)
        if alive.all():
            return None
        rank = np.cumsum(alive) - 1
        new = rank[rows[kept(picked)]]
        steps = np.unique(np.diff(new))
        if len(steps) <= 1 and (steps > 0).all() and len(new):
            step = int(steps[0]) if len(steps) else 1
            arguments = {"dim": dim, "start": int(new[0]), "end": int(new[-1]) + 1, "step": step}
            return aten.slice.Tensor, {"self": call["self"], **arguments}
        return aten.index_select.default, {"self": call["self"], "dim": dim, "index": new}

    if axis.shape[1]:
        call.replace(make)
    return _with(layout, dim, picked)


@rule(
    aten.slice.Tensor,
    samples=lambda: [
        sample(torch.randn(2, 12), 1, 3, 9),
        sample(torch.randn(2, 12), 1, 1, None, 2),
        sample(torch.randn(2, 12), 1, -4),
    ],
)
def slice_rows(call: Call) -> Layout:
    """``x[start:end:step]`` along one dimension."""
    layout = call.layout("self")
    dim = call.dim(call["dim"], len(layout))
    if not layout[dim].shape[1]:
        return _with(layout, dim, plain(call.out_shape[dim]))
    bounds = call["start"], call["end"]
    if any(isinstance(bound, fx.Node) for bound in bounds):
        call.freeze(layout[dim])
        return _with(layout, dim, plain(call.out_shape[dim]))
    rows = np.arange(len(layout[dim]))[slice(*bounds, call["step"])]
    return _picked(call, dim, rows)


@rule(aten.narrow.default, samples=lambda: [sample(torch.randn(2, 12), 1, 3, 6)])
def narrow(call: Call) -> Layout:
    """``x[start : start + length]`` along one dimension."""
    layout = call.layout("self")
    dim = call.dim(call["dim"], len(layout))
    if isinstance(call["start"], fx.Node) or isinstance(call["length"], fx.Node):
        call.freeze(layout[dim])
        return _with(layout, dim, plain(call.out_shape[dim]))
    start = call.dim(call["start"], len(layout[dim]))
    return _picked(call, dim, np.arange(start, start + call["length"]))


@rule(
    aten.index_select.default,
    samples=lambda: [sample(torch.randn(2, 6), 1, torch.tensor([4, 0, 0, 2]))],
)
def index_select(call: Call) -> Layout:
    """Rows picked by an index tensor; a computed one holds the axis."""
    layout = call.layout("self")
    dim = call.dim(call["dim"], len(layout))
    index = call.constant("index")
    if index is None:
        call.freeze(layout[dim])
        return _with(layout, dim, plain(call.out_shape[dim]))
    return _picked(call, dim, index.reshape(-1) % max(len(layout[dim]), 1))


@rule(
    aten.index.Tensor,
    samples=lambda: [
        sample(torch.randn(2, 6, 3), [None, torch.tensor([4, 0, 2])]),
        sample(torch.randn(6, 5), [torch.tensor([[4, 0, 0], [1, 2, 3]])]),
        sample(torch.randn(3, 4, 6), [torch.tensor([0, 2]), torch.tensor([1, 1])]),
    ],
)
def index(call: Call) -> Layout:
    """Advanced indexing: indexed dimensions stay whole, the others pass.

    The index dimensions stand where the indexed ones stood, or in front if these are apart.
    """
    layout, indices = call.layout("self"), call["indices"]
    indexed = [i for i, item in enumerate(indices) if item is not None]
    call.freeze(*(layout[i] for i in indexed))
    for i in indexed:
        call.freeze(*call.layout(indices[i]))
    rest = [axis for i, axis in enumerate(layout) if i not in indexed]
    added = len(call.out_shape) - len(rest)
    adjacent = indexed == list(range(indexed[0], indexed[-1] + 1))
    start = indexed[0] if adjacent else 0
    new = [plain(size) for size in call.out_shape[start : start + added]]
    return (*rest[:start], *new, *rest[start:])


@rule(
    aten.embedding.default,
    samples=lambda: [sample(torch.randn(9, 6), torch.tensor([[4, 0, 2], [1, 1, 8]]))],
)
def embedding(call: Call) -> Layout:
    """Rows of a table ``[vocabulary, dim]``: the vocabulary stays, the dimension passes."""
    table = call.layout("weight")
    call.freeze(table[0])
    return (*call.layout("indices"), table[1])


@rule(
    aten.select.int,
    samples=lambda: [sample(torch.randn(2, 6, 3), 1, 4), sample(torch.randn(2, 6), 1, -1)],
)
def select(call: Call) -> Layout:
    """One row of an axis, which must stay."""
    layout = call.layout("self")
    dim, index = call.dim(call["dim"], len(layout)), call["index"]
    axis = layout[dim]
    if isinstance(index, fx.Node):
        call.freeze(axis)
    else:
        row = call.dim(index, len(axis))
        call.freeze(axis[row : row + 1])
        call.rewrite("index", lambda kept: int(kept(axis[:row]).sum()))
    return (*layout[:dim], *layout[dim + 1 :])


@rule(aten.unbind.int, samples=lambda: [sample(torch.randn(2, 6, 3), 0)])
def unbind(call: Call) -> Result:
    """Every row of an axis as a tensor of its own, so all must stay."""
    layout = call.layout("self")
    dim = call.dim(call["dim"], len(layout))
    call.freeze(layout[dim])
    return [(*layout[:dim], *layout[dim + 1 :])] * len(layout[dim])


@rule(aten.flip.default, samples=lambda: [sample(torch.randn(2, 6, 3), [1])])
def flip(call: Call) -> Layout:
    """Reverse the rows of some axes."""
    out = list(call.layout("self"))
    for dim in call["dims"]:
        out[dim] = out[dim][::-1]
    return tuple(out)


@rule(
    aten.roll.default,
    samples=lambda: [sample(torch.randn(2, 6, 3), [1], [2]), sample(torch.randn(2, 6), [2], [1])],
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
def repeat(call: Call) -> Layout:
    """Tile axes; an axis of size one that is tiled has channels of its own."""
    layout, times = call.layout("self"), list(call["repeats"])
    layout = (*(plain(1) for _ in range(len(times) - len(layout))), *layout)
    out = [_repeated(call, i, axis, n) for i, (axis, n) in enumerate(zip(layout, times, strict=True))]
    call.rewrite("repeats", lambda kept: [
        int(kept(new).sum()) if len(old) == 1 and new.shape[1] else n
        for n, old, new in zip(times, layout, out, strict=True)
    ])
    return tuple(out)


def _repeated(call: Call, i: int, axis: Axis, times: int | fx.Node) -> Axis:
    if isinstance(times, fx.Node):
        call.freeze(axis)
        return plain(call.out_shape[i])
    return call.fresh(times, i) if len(axis) == 1 else np.tile(axis, (times, 1))


@rule(
    aten.repeat_interleave.self_int,
    samples=lambda: [sample(torch.randn(2, 6), 3, 1)],
)
def repeat_interleave(call: Call) -> Layout:
    """Each row ``repeats`` times in a row."""
    layout = call.layout("self")
    if call["dim"] is None or isinstance(call["repeats"], fx.Node):
        call.freeze(*layout)
        return tuple(plain(size) for size in call.out_shape)
    dim = call.dim(call["dim"], len(layout))
    return _with(layout, dim, np.repeat(layout[dim], call["repeats"], axis=0))


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
    """Rows before and after: new ones have labels that no parameter feeds; negative: cropped."""
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
                layout[dim] = plain(call.out_shape[dim])
            edges.append(None)

    def value(kept: Kept) -> list[Any]:
        out: list[Any] = []
        for i, edge in enumerate(edges):
            old = amounts[2 * i : 2 * i + 2]
            out += old if edge is None else [
                int(kept(rows).sum()) * (1 if n >= 0 else -1) for n, rows in zip(old, edge, strict=True)
            ]
        return out

    call.rewrite("pad", value)
    return tuple(layout)


def _padded(call: Call, axis: Axis, dim: int, before: int, after: int) -> tuple[Axis, tuple[Axis, Axis]]:
    """The padded axis, and the rows added (or cropped) at either end."""
    head = call.fresh(before, (dim, 0)) if before >= 0 else axis[:-before]
    tail = call.fresh(after, (dim, 1)) if after >= 0 else axis[after:]
    middle = axis[max(-before, 0) : len(axis) - max(-after, 0)]
    parts = [head] * (before > 0) + [middle] + [tail] * (after > 0)
    return _stack_rows(parts), (head, tail)
