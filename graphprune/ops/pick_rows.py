"""Operators that split an axis into runs of rows, or pick some of its rows: split, slice, select."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from graphprune.axes.kept import Kept
from graphprune.axes.labels import Axis, unlabelled
from graphprune.axes.layout import Layout, with_axis

from .call import Call
from .facts import Result
from .registry import rule, sample, state_traits

__all__ = ["pick_rows"]

aten = torch.ops.aten

_END = 2**63 - 1
"""Bound that a slice without one is given."""


def _split_runs(call: Call, dim: int) -> Result:
    """Split an axis into consecutive runs of rows; after a cut, each run has the rows left of it."""
    layout = call.layout("self")
    sizes = [shape[dim] for shape in call.out_shapes]
    runs = np.split(layout[dim], np.cumsum(sizes)[:-1])

    def make(kept: Kept) -> tuple[Any, dict[str, Any]] | None:
        left = [int(kept(run).sum()) for run in runs]
        if left == [len(run) for run in runs]:
            return None
        arguments = {"self": call["self"], "split_sizes": left, "dim": dim}
        return aten.split_with_sizes.default, arguments

    if layout[dim].shape[1]:
        call.replace(make)
        call.facts.runs, call.facts.equal_runs = tuple(runs), call.node.target in _EVEN
    return [with_axis(layout, dim, run) for run in runs]


_EVEN = {
    aten.chunk.default,
    aten.unsafe_chunk.default,
    aten.hsplit.int,
    aten.tensor_split.sections,
    aten.vsplit.int,
}


@rule(
    aten.chunk.default,
    aten.unsafe_chunk.default,
    samples=lambda: [sample(torch.randn(2, 12), 3, 1), sample(torch.randn(2, 7), 3, 1)],
    quiet=True,
)
@rule(
    aten.split_with_sizes.default,
    aten.split.sizes,
    samples=lambda: [sample(torch.randn(2, 12), [3, 4, 5], 1)],
    quiet=True,
)
@rule(
    aten.split.Tensor,
    aten.unsafe_split.Tensor,
    samples=lambda: [sample(torch.randn(2, 12), 5, -1)],
    quiet=True,
)
@rule(
    aten.tensor_split.sections,
    samples=lambda: [sample(torch.randn(2, 11), 3, 1)],
    quiet=True,
)
def split_axis(call: Call) -> Result:
    """Split an axis into consecutive runs of rows."""
    return _split_runs(call, call.dim(call["dim"], call.rank("self")))


@rule(aten.hsplit.int, samples=lambda: [sample(torch.randn(2, 12, 3), 3)], quiet=True)
@rule(aten.vsplit.int, samples=lambda: [sample(torch.randn(12, 3), 3)], quiet=True)
def split_fixed_axis(call: Call) -> Result:
    """Split the axis that the operator's name implies into consecutive runs of rows."""
    second = call.node.target is aten.hsplit.int and call.rank("self") > 1
    return _split_runs(call, int(second))


def pick_rows(call: Call, dim: int, rows: NDArray[np.int64]) -> Layout:
    """Select rows by a constant index; after a cut, by a slice or an index tensor."""
    layout = call.layout("self")
    axis = layout[dim]
    chosen = axis[rows]

    def make(kept: Kept) -> tuple[Any, dict[str, Any]] | None:
        alive = kept(axis)
        if alive.all():
            return None
        rank = np.cumsum(alive) - 1
        new = rank[rows[kept(chosen)]]
        steps = np.unique(np.diff(new))
        if len(steps) <= 1 and (steps > 0).all() and len(new):
            step = int(steps[0]) if len(steps) else 1
            arguments = {"dim": dim, "start": int(new[0]), "end": int(new[-1]) + 1, "step": step}
            return aten.slice.Tensor, {"self": call["self"], **arguments}
        return aten.index_select.default, {"self": call["self"], "dim": dim, "index": new}

    if axis.shape[1]:
        call.replace(make)
        call.facts.runs = (chosen,)
    return with_axis(layout, dim, chosen)


@rule(
    aten.slice.Tensor,
    samples=lambda: [
        sample(torch.randn(2, 12), 1, 3, 9),
        sample(torch.randn(2, 12), 1, 1, None, 2),
        sample(torch.randn(2, 12), 1, -4),
        sample(torch.randn(2, 12), 1, 0, 2**63 - 1),
    ],
    quiet=True,
)
def slice_rows(call: Call) -> Layout:
    """Select rows ``x[start:end:step]`` along one dimension."""
    layout = call.layout("self")
    dim = call.dim(call["dim"], len(layout))
    if not layout[dim].shape[1]:
        return with_axis(layout, dim, unlabelled(call.out_shape[dim]))
    bounds = call["start"], call["end"]
    if bounds[0] in (None, 0) and bounds[1] in (None, _END) and call["step"] == 1:
        return layout
    if any(isinstance(bound, fx.Node) for bound in bounds) or _is_symbolic(call, dim):
        call.freeze(layout[dim])
        return with_axis(layout, dim, unlabelled(call.out_shape[dim]))
    rows = np.arange(len(layout[dim]))[slice(*bounds, call["step"])]
    if call.written_later:
        _keep_spacing(call, layout[dim], rows)
    return pick_rows(call, dim, rows)


def _keep_spacing(call: Call, axis: Axis, rows: NDArray[np.int64]) -> None:
    """Let rows go only in blocks of a step, so that a slice can still pick what it picks.

    An index would make a copy, and what is written into a view must reach the value that it is a view of.
    """
    # Slices of one step that start elsewhere have the same blocks.
    first = rows - rows % call["step"]
    for between in range(1, call["step"]):
        inside = first[first + between < len(axis)]
        call.tie(axis[inside], axis[inside + between])


def _is_symbolic(call: Call, dim: int) -> bool:
    """Whether an axis grows with a dynamic size: then the numbers of its rows say nothing of channels."""
    return isinstance(call["self"].meta["val"].shape[dim], torch.SymInt)


@rule(aten.narrow.default, samples=lambda: [sample(torch.randn(2, 12), 1, 3, 6)], quiet=True)
def narrow(call: Call) -> Layout:
    """Select rows ``x[start : start + length]`` along one dimension."""
    layout = call.layout("self")
    dim = call.dim(call["dim"], len(layout))
    bounds = call["start"], call["length"]
    if any(isinstance(bound, fx.Node) for bound in bounds) or _is_symbolic(call, dim):
        call.freeze(layout[dim])
        return with_axis(layout, dim, unlabelled(call.out_shape[dim]))
    start = call.dim(call["start"], len(layout[dim]))
    return pick_rows(call, dim, np.arange(start, start + call["length"]))


@rule(
    aten.index_select.default,
    samples=lambda: [sample(torch.randn(2, 6), 1, torch.tensor([4, 0, 0, 2]))],
    quiet=True,
)
def index_select(call: Call) -> Layout:
    """Select rows by an index tensor; one that is computed freezes the axis."""
    layout = call.layout("self")
    dim = call.dim(call["dim"], len(layout))
    index = call.constant("index")
    if index is None:
        call.freeze(layout[dim])
        return with_axis(layout, dim, unlabelled(call.out_shape[dim]))
    return pick_rows(call, dim, index.reshape(-1) % max(len(layout[dim]), 1))


@rule(
    aten.select.int,
    samples=lambda: [sample(torch.randn(2, 6, 3), 1, 4), sample(torch.randn(2, 6), 1, -1)],
    quiet=True,
)
def select(call: Call) -> Layout:
    """Select one row of an axis, which must stay."""
    layout = call.layout("self")
    dim, index = call.dim(call["dim"], len(layout)), call["index"]
    axis = layout[dim]
    if isinstance(index, fx.Node) or _is_symbolic(call, dim):
        call.freeze(axis)
    else:
        row = call.dim(index, len(axis))
        call.freeze(axis[row : row + 1])
        call.rewrite("index", lambda kept: int(kept(axis[:row]).sum()))
    return (*layout[:dim], *layout[dim + 1 :])


@rule(aten.unbind.int, samples=lambda: [sample(torch.randn(2, 6, 3), 0)], quiet=True)
def unbind(call: Call) -> Result:
    """Split an axis into a tensor for each row, so all rows must stay."""
    layout = call.layout("self")
    dim = call.dim(call["dim"], len(layout))
    call.freeze(layout[dim])
    return [(*layout[:dim], *layout[dim + 1 :])] * len(layout[dim])


state_traits(
    aten.chunk.default,
    aten.unsafe_chunk.default,
    aten.hsplit.int,
    aten.vsplit.int,
    aten.tensor_split.sections,
    aten.split.Tensor,
    aten.unsafe_split.Tensor,
    aten.split.sizes,
    aten.split_with_sizes.default,
    aten.slice.Tensor,
    aten.narrow.default,
    aten.select.int,
    aten.unbind.int,
    moves=True,
)
state_traits(aten.select.int, view=True)
