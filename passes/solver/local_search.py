"""Local search on the true cost: move one group, or two at once."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from .relaxation import first_order

if TYPE_CHECKING:
    from .cost_tables import Array, Factor, Index
    from .problem import Levels, Problem

__all__ = ["approach", "fill", "polish"]

_ROUNDS = 50
_REACH = 16
_EXCHANGES = 20_000_000  # looked at per round, about a second
_TIE = 1e-9
_ROUNDING = 1e-15
_MARGIN = 1e-12


def polish(problem: Problem, levels: Levels) -> Levels:
    """Improve feasible levels by single moves and pair exchanges until none helps.

    A single move may go anywhere, the moves of an exchange only to nearby levels. Less
    distortion is better; where it is equal, more cost within the budget is.

    Args:
        problem: with the budget to keep.
        levels: within the budget.
    """
    reach = int(_EXCHANGES**0.5 / len(levels) / 2)
    point = _Point(problem, levels, min(max(reach, 1), _REACH))
    for _ in range(_ROUNDS):
        moved = point.move()
        for group in range(len(problem.sizes)):
            moved |= point.exchange(group)
        if not moved:
            break
    return point.checked() or polish(_tightened(problem), levels)


def fill(problem: Problem, levels: Levels) -> Levels:
    """Spend what is left of the budget: widen single groups while one still fits.

    Distortion never rises, because no curve does. What lowers it most is widened first,
    and where nothing does, what costs most.
    """
    point = _Point(problem, levels, reach=0)
    point.move()
    return point.checked() or fill(_tightened(problem), levels)


def approach(problem: Problem, levels: Levels, floor: float) -> Levels:
    """Change one or two groups to spend at least `floor`, at the least distortion.

    The least distortion may lie well below the budget where single channels are dear. Then
    narrowing one group to widen another uses the budget, at some distortion.

    Args:
        problem: with the budget to keep.
        levels: within the budget.
        floor: cost to reach.

    Returns:
        Levels whose cost is between `floor` and the budget, or, if one or two changes don't
        lead there, the given levels.
    """
    if problem.cost(levels) >= floor:
        return levels
    point = _Point(problem, levels, reach=32)
    return levels if not point.land(floor) else point.checked() or levels


def _tightened(problem: Problem) -> Problem:
    """Lower the budget by what the rounding of summed cost changes may amount to."""
    margin = _MARGIN * max(abs(problem.budget), abs(problem.cost(problem.dense)))
    return replace(problem, budget=problem.budget - margin)


class _Point:
    """Levels with the change of cost and distortion of every single move off them."""

    def __init__(self, problem: Problem, levels: Levels, reach: int) -> None:
        self.problem, self.levels, self.reach = problem, list(levels), reach
        ends = np.cumsum((0, *problem.sizes)).tolist()
        self.spans: list[slice[int, int]] = [slice(a, b) for a, b in pairwise(ends)]
        self.near = [self._window(group) for group in range(len(levels))]
        self.factors: list[list[Factor]] = [[] for _ in levels]
        for factor in problem.factors:
            for group in factor.scope:
                self.factors[group].append(factor)
        # Of every single move, group after group: change of cost, and of distortion.
        self.costs = np.concatenate(first_order(problem, levels))
        self.gains = np.concatenate([
            curve - curve[level] for curve, level in zip(problem.curves, levels, strict=True)
        ])
        self.room = problem.budget - problem.cost(levels)
        # What a unit of cost is worth: too little to ever trade distortion for it.
        highest = sum(float(curve[0]) for curve in problem.curves)
        scale = max(problem.distortion(levels), _TIE * highest) or 1.0
        largest = max(abs(problem.budget), float(np.abs(self.costs).max()))
        self.tie = _TIE * scale / (largest or 1.0)
        self.least = _ROUNDING * scale

    def checked(self) -> Levels | None:
        """Return the levels, unless rounding has put them over the budget."""
        return tuple(self.levels) if self.problem.feasible(self.levels) else None

    def move(self) -> bool:
        """Make the best single move until none helps."""
        moved = False
        while True:
            merit = np.where(self.costs <= self.room, self.gains - self.tie * self.costs, np.inf)
            best = int(merit.argmin())
            if merit[best] >= -self.least:
                return moved
            self.place(next(g for g, span in enumerate(self.spans) if best < span.stop), best)
            moved = True

    def exchange(self, group: int) -> bool:
        """Move `group` and one other group at once, if that helps."""
        pairs = _Pairs(self, group)
        merit = pairs.gains - self.tie * pairs.costs
        merit[pairs.costs > self.room] = np.inf
        best = int(merit.argmin())
        if merit.flat[best] >= -self.least:
            return False
        pairs.take(best)
        return True

    def land(self, floor: float) -> bool:
        """Make the one or two moves of least distortion that bring the cost to `floor`."""
        lowest = floor - self.problem.cost(self.levels)
        found: tuple[float, int, int] | None = None
        for group in range(len(self.levels)):
            pairs = _Pairs(self, group, alone=True)
            outside = (pairs.costs < lowest) | (pairs.costs > self.room)
            merit = np.where(outside, np.inf, pairs.gains)
            best = int(merit.argmin())
            if found is None or merit.flat[best] < found[0]:
                found = float(merit.flat[best]), group, best
        if found is None or found[0] == np.inf:
            return False
        _Pairs(self, found[1], alone=True).take(found[2])
        return True

    def interaction(self, factor: Factor, group: int, other: int) -> Array:
        """Return what moving two groups costs beyond the sum of the two single moves."""
        rows, columns = (self.near[g] - self.spans[g].start for g in (group, other))
        at = {group: rows[:, np.newaxis], other: columns}
        both = factor.table[tuple(at.get(g, np.asarray(self.levels[g])) for g in factor.scope)]
        mine = factor.along(group, self.levels)[rows, np.newaxis]
        theirs = factor.along(other, self.levels)[columns]
        return both - mine - theirs + factor(self.levels)

    def _window(self, group: int) -> Index:
        """Return the positions, among all moves, of those within reach."""
        span, here = self.spans[group], self.spans[group].start + self.levels[group]
        first = max(span.start, here - self.reach)
        return np.arange(first, min(span.stop, here + self.reach + 1))

    def place(self, group: int, position: int) -> None:
        """Make the move at `position`, and update those of the groups it interacts with."""
        self.room -= float(self.costs[position])
        for factor in self.factors[group]:
            self._count(factor, -1.0)
        self.levels[group] = position - self.spans[group].start
        for factor in self.factors[group]:
            self._count(factor, 1.0)
        curve = self.problem.curves[group]
        self.gains[self.spans[group]] = curve - curve[self.levels[group]]
        self.near[group] = self._window(group)

    def _count(self, factor: Factor, sign: float) -> None:
        """Add or remove what a factor contributes to the cost of its groups' moves."""
        here = factor(self.levels)
        for group in factor.scope:
            move = factor.along(group, self.levels) - here
            self.costs[self.spans[group]] += sign * move


class _Pairs:
    """Change of cost and distortion of every move of one group together with another's.

    With `alone`, the other group may also stay where it is.
    """

    def __init__(self, point: _Point, group: int, *, alone: bool = False) -> None:
        self.point, self.group = point, group
        self.rows, self.columns = point.near[group], np.concatenate(point.near)
        self.ends = np.cumsum([0, *(len(window) for window in point.near)])
        rows, columns = self.rows, self.columns
        self.costs = point.costs[rows, np.newaxis] + point.costs[columns]
        for factor in point.factors[group]:
            for other in factor.scope:
                if other != group:
                    block = slice(self.ends[other], self.ends[other + 1])
                    self.costs[:, block] += point.interaction(factor, group, other)
        self.gains = point.gains[rows, np.newaxis] + point.gains[columns]
        own = slice(self.ends[group], self.ends[group + 1])
        self.gains[:, own] = np.inf
        if alone:
            stays = self.ends[group] + point.levels[group] - (rows[0] - point.spans[group].start)
            self.gains[:, stays] = point.gains[rows]
            self.costs[:, stays] = point.costs[rows]

    def take(self, position: int) -> None:
        """Make the two moves at a position of the flattened table."""
        row, column = divmod(position, len(self.columns))
        self.point.place(self.group, int(self.rows[row]))
        other = int(np.searchsorted(self.ends, column, side="right")) - 1
        if other != self.group:
            self.point.place(other, int(self.columns[column]))
