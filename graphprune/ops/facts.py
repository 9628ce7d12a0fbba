"""What a rule says of a call: its result, what it sums over, what it costs, what a cut changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from graphprune.axes.kept import Kept
from graphprune.axes.labels import Axis
from graphprune.axes.layout import Layout

__all__ = [
    "Contraction", "Facts", "MacTerm", "Result", "Statistic", "axes_of", "resized", "share",
]  # fmt: skip

Result = Layout | list[Layout] | None


def axes_of(result: Result) -> list[Axis]:
    """The axes of all results of a call."""
    layouts = result if isinstance(result, list) else [result or ()]
    return [axis for layout in layouts for axis in layout]


@dataclass(frozen=True)
class Contraction:
    """An axis that is summed over: the oracle zeroes the operand where rows are removed.

    Attributes:
        argument: the operand's name in the schema.
        dim: its dimension that is summed over.
        axis: the labels of that dimension.
        item: which one, where the argument is a list of tensors.
    """

    argument: str
    dim: int
    axis: Axis
    item: int | None = None

    def operand(self, values: Mapping[str, Any]) -> Any:
        """The operand among a call's arguments by name: nodes or values."""
        value = values[self.argument]
        return value if self.item is None else value[self.item]

    def replace(self, values: dict[str, Any], operand: Any) -> None:
        """Put another operand among a call's arguments by name."""
        if self.item is not None:
            operands = list(values[self.argument])
            operands[self.item] = operand
            operand = operands
        values[self.argument] = operand


@dataclass(frozen=True)
class Statistic:
    """A statistic over rows of an operand, from which rows may be removed.

    A removed row must read as the value that leaves the statistic to the others: zero in a sum
    or a sum of squares, the mean of the others where the mean is taken off first.

    Attributes:
        argument: the operand's name in the schema.
        dims: its dimensions that the statistic runs over, ascending.
        axes: the labels of those that can shrink, by dimension.
        counted: the axes whose rows the statistic would hold.
        centred: whether the mean is taken off first.
        runs: ``dims[0]`` is made of this many runs, each with a statistic of its own.
        exact: whether removed rows are zero anyway once the parameters of their channels are.
    """

    argument: str
    dims: tuple[int, ...]
    axes: Mapping[int, Axis]
    counted: tuple[Axis, ...]
    centred: bool
    runs: int
    exact: bool


class MacTerm(NamedTuple):
    """``factor * prod(len(axis) for axis in axes)`` multiply-accumulates on the example batch."""

    factor: float
    axes: tuple[Axis, ...]


@dataclass
class Facts:
    """What a rule says of one call.

    Attributes:
        result: the layout of the result, or one for each result.
        contractions: axes that are summed over with a weight.
        statistics: axes that are summed over without one.
        macs: the cost.
        rewrites: argument -> its value in a cut program.
        scales: argument, or ``""`` for the result -> what it is multiplied by in a cut program.
        replacement: what a cut program calls instead.
        equal_runs: the rows of each piece, where the operator makes pieces of equal size of an axis of any.
        quiet: where the stored rows of some channels are zero, so are those of the result.
        needed_whole: axes that a call on stored tensors needs whole.
        mixes: a statistic holds an axis.
        opens: that axis is free with ``allow_inexact``.
        known: there is a rule.
    """

    result: Result = None
    contractions: list[Contraction] = field(default_factory=list)
    statistics: list[Statistic] = field(default_factory=list)
    macs: list[MacTerm] = field(default_factory=list)
    rewrites: dict[str, Callable[[Kept], Any]] = field(default_factory=dict)
    scales: dict[str, Callable[[Kept], float]] = field(default_factory=dict)
    replacement: Callable[[Kept], tuple[Any, dict[str, Any]] | None] | None = None
    equal_runs: tuple[Axis, ...] = ()
    quiet: bool = False
    needed_whole: list[Axis] = field(default_factory=list)
    mixes: bool = False
    opens: bool = False
    known: bool = True


def share(kept: Kept, axes: Iterable[Axis]) -> float:
    """How much of a product of axes is left, from 0 to 1."""
    return math.prod(float(kept(axis).mean()) for axis in axes if len(axis))


def resized(sizes: Sequence[Any], layout: Layout, kept: Kept) -> list[Any]:
    """Sizes, of which those whose axis lost rows become what is left."""
    left = [kept(axis) for axis in layout]
    return [
        size if alive.all() else int(alive.sum()) for size, alive in zip(sizes, left, strict=True)
    ]
