"""Facts that a rule states of one call: its result, contractions, costs, and what a cut changes."""

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
    """List the axes of all results of a call."""
    layouts = result if isinstance(result, list) else [result or ()]
    return [axis for layout in layouts for axis in layout]


@dataclass(frozen=True)
class Contraction:
    """A contracted axis, which a call sums over: the oracle zeroes the operand at removed rows.

    Attributes:
        argument: the operand's name in the schema.
        dim: its dimension that is summed over.
        axis: the labels of that dimension.
        item: the number of the tensor, where the argument is a list.
        partner: the operand that it is multiplied with on the way, as ``(argument, dim, item)``, where the
            rule states it.
    """

    argument: str
    dim: int
    axis: Axis
    item: int | None = None
    partner: tuple[str, int, int | None] | None = None

    def operand(self, values: Mapping[str, Any]) -> Any:
        """Return the operand among a call's arguments by name, nodes or values."""
        value = values[self.argument]
        return value if self.item is None else value[self.item]

    def replace(self, values: dict[str, Any], operand: Any) -> None:
        """Replace the operand among a call's arguments by name."""
        if self.item is not None:
            operands = list(values[self.argument])
            operands[self.item] = operand
            operand = operands
        values[self.argument] = operand


@dataclass(frozen=True)
class Statistic:
    """A statistic over rows of an operand (a mean, a variance), from which rows may be removed.

    A removed row must read as the value that leaves the statistic to the others: zero in a sum
    or a sum of squares, the mean of the others where the mean is taken off first.

    Attributes:
        argument: the operand's name in the schema.
        dims: its dimensions that the statistic runs over, ascending.
        axes: the labels of those that can shrink, by dimension.
        counted: the axes whose rows the statistic counts.
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
    """One term of a cost: ``factor * prod(len(axis) for axis in axes)`` MACs on the example batch."""

    factor: float
    axes: tuple[Axis, ...]


@dataclass
class Facts:
    """All facts that a rule states of one call.

    Attributes:
        result: the layout of the result, or one for each result.
        contractions: axes that are summed over with a weight.
        statistics: axes that are summed over without one.
        macs: terms of the cost, in multiply-accumulates on the example batch.
        rewrites: argument -> its value in a cut program.
        scales: argument, or ``""`` for the result -> what it is multiplied by in a cut program.
        replacement: what a cut program calls instead.
        runs: the rows of each part, where the call takes parts out of one axis.
        equal_runs: whether the operator splits an axis of any length into equal runs.
        loud: axes of the result of which zero rows of parameters may leave other rows than zero; all others
            are quiet. ``None``: nothing is known, any axis may be loud.
        needed_whole: axes that a call on stored tensors needs whole.
        mixes: whether a statistic freezes an axis.
        opens: whether ``allow_inexact`` would free that axis.
        because: what the call does for which it freezes axes, where that isn't seen from its name.
        known: whether there is a rule.
    """

    result: Result = None
    contractions: list[Contraction] = field(default_factory=list)
    statistics: list[Statistic] = field(default_factory=list)
    macs: list[MacTerm] = field(default_factory=list)
    rewrites: dict[str, Callable[[Kept], Any]] = field(default_factory=dict)
    scales: dict[str, Callable[[Kept], float]] = field(default_factory=dict)
    replacement: Callable[[Kept], tuple[Any, dict[str, Any]] | None] | None = None
    runs: tuple[Axis, ...] = ()
    equal_runs: bool = False
    loud: tuple[Axis, ...] | None = None
    needed_whole: list[Axis] = field(default_factory=list)
    mixes: bool = False
    opens: bool = False
    because: str = ""
    known: bool = True


def share(kept: Kept, axes: Iterable[Axis]) -> float:
    """Compute the share of a product of axes that is left after a cut, from 0 to 1."""
    return math.prod(float(kept(axis).mean()) for axis in axes if len(axis))


def resized(sizes: Sequence[Any], layout: Layout, kept: Kept) -> list[Any]:
    """Replace the sizes of axes that lose rows by the number of rows left."""
    left = [kept(axis) for axis in layout]
    return [
        size if alive.all() else int(alive.sum()) for size, alive in zip(sizes, left, strict=True)
    ]
