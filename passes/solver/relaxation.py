"""Reduce many levels to few: grids of levels, and intervals of levels with a valid lower bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .cost_tables import Factor, aligned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .cost_tables import Array, Index
    from .problem import Levels, Problem

__all__ = ["Line", "Relaxation", "first_order", "grid"]


def grid(size: int, count: int, centre: int | None = None) -> Index:
    """Return at most `count` ascending levels of `range(size)`, both ends included.

    Without a centre they are evenly spaced. With one, it is included, and they are one
    apart near it and ever further apart away from it.

    Example:
        >>> grid(100, 9, centre=10).tolist()
        [0, 5, 8, 9, 10, 11, 14, 30, 99]
    """
    if size <= count:
        return np.arange(size)
    if centre is None:
        return np.unique(np.linspace(0, size - 1, count).round().astype(np.int64))
    below = centre - _offsets(centre, (count - 1) // 2)
    above = centre + _offsets(size - 1 - centre, (count - 1) // 2)
    return np.unique(np.concatenate([below, [centre], above]))


def _offsets(span: int, count: int) -> Index:
    """Return at most `count` offsets from 1 to `span`, growing geometrically."""
    if span == 0:
        return np.zeros(0, dtype=np.int64)
    steps = np.arange(count)
    growing = (span ** (steps / max(count - 1, 1))).round().astype(np.int64)
    growing[-1] = span
    return np.minimum(np.maximum(growing, steps + 1), span)


def first_order(problem: Problem, levels: Sequence[int]) -> list[Array]:
    """Return per group the change of cost when that group alone moves off `levels`."""
    moves = [np.zeros(size) for size in problem.sizes]
    for factor in problem.factors:
        here = factor(levels)
        for group in factor.scope:
            moves[group] += factor.along(group, levels) - here
    return moves


@dataclass(frozen=True)
class Line:
    """Lagrangian of one choice of levels as a line in the price; the minimum over choices is nowhere above it."""

    cost: float
    distortion: float

    def at(self, weight: float) -> float:
        """Return distortion + weight * cost."""
        return self.distortion + weight * self.cost


class Relaxation:
    """Lower bound of a problem's Lagrangian, over intervals of levels.

    The cost is rewritten exactly around a centre: its value there, plus the change when
    one group alone moves, plus a residual per factor. The residual is of second order: it
    is 0 where at most one group of the factor is off the centre. Groups keep their exact
    curve and first-order cost; the least of their sum inside an interval is taken once the
    price of cost is known. Residual tables are replaced by their minimum over each block
    of intervals. So `unary` plus weight times `constant` and `factors` never exceeds
    distortion plus weight times cost, and with one level per interval they are equal.

    Attributes:
        sizes: number of intervals per group.
        curves: distortion per group and level.
        moves: change of cost per group and level, when that group alone leaves the centre.
        factors: cost residuals, per block of intervals.
        constant: cost at the centre.
    """

    def __init__(
        self, problem: Problem, centre: Levels, starts: Sequence[Index] | None = None
    ) -> None:
        """Relax a problem around a centre.

        Args:
            problem: with all its levels.
            centre: levels near which the bound is to be tight.
            starts: per group, the first level of each interval, ascending from 0;
                by default every level is an interval, and nothing is relaxed.
        """
        self._starts = [np.arange(n) for n in problem.sizes] if starts is None else starts
        self.curves = problem.curves
        self.moves = first_order(problem, centre)
        self.sizes = tuple(len(start) for start in self._starts)
        self.constant = problem.cost(centre)
        self.factors = tuple(
            self._residual(factor, centre) for factor in problem.factors if factor.scope[1:]
        )

    def _residual(self, factor: Factor, centre: Levels) -> Factor:
        here = factor(centre)
        table = factor.table - here
        for group in factor.scope:
            move = factor.along(group, centre) - here
            table -= aligned(move, (group,), factor.scope)
        for axis, group in enumerate(factor.scope):
            if len(self._starts[group]) < table.shape[axis]:
                table = np.minimum.reduceat(table, self._starts[group], axis=axis)
        return Factor(factor.scope, table)

    def unary(self, weight: float) -> list[Array]:
        """Return per group and interval the least distortion plus `weight` times cost."""
        return [
            np.minimum.reduceat(curve + weight * move, start)
            for curve, move, start in zip(self.curves, self.moves, self._starts, strict=True)
        ]

    def inside(self, intervals: Sequence[int], weight: float) -> Levels:
        """Return the level that attains `unary` inside each interval."""
        levels: list[int] = []
        for group, interval in enumerate(intervals):
            start = self._starts[group]
            stop = start[interval + 1] if interval + 1 < len(start) else None
            part = slice(start[interval], stop)
            value = self.curves[group][part] + weight * self.moves[group][part]
            levels.append(int(start[interval] + value.argmin()))
        return tuple(levels)

    def line(self, intervals: Sequence[int], levels: Levels) -> Line:
        """Return the relaxed cost, and the distortion, at `levels` inside `intervals`."""
        own = sum(float(move[level]) for move, level in zip(self.moves, levels, strict=True))
        return Line(
            self.constant + own + sum(factor(intervals) for factor in self.factors),
            sum(float(curve[level]) for curve, level in zip(self.curves, levels, strict=True)),
        )

    def levels(self, bounds: Sequence[Array], ceiling: float) -> list[Index]:
        """Return the levels in the intervals whose entry in `bounds` is within `ceiling`."""
        return [
            np.flatnonzero(np.repeat(bound <= ceiling, np.diff([*start, len(curve)])))
            for bound, start, curve in zip(bounds, self._starts, self.curves, strict=True)
        ]
