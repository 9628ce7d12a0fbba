"""Local search on the true cost: move one group, or two at once."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from .relaxation import first_order

if TYPE_CHECKING:
    from .factors import Array, Factor, Index
    from .problem import Levels, Problem

__all__ = ["fill", "polish"]

_SWEEPS = 50
_TIE = 1e-9
_ROUNDING = 1e-15
_MARGIN = 1e-12


def polish(problem: Problem, levels: Levels, reach: int = 16) -> Levels:
    """Improve feasible levels by single moves and pair exchanges until none helps.

    Less distortion is better; where it is equal, more cost within the budget is.

    Args:
        problem: with the budget to keep.
        levels: within the budget.
        reach: how many levels up or down a group may go in an exchange; a single move may
            go anywhere.
    """
    point = _Point(problem, levels, reach)
    for _ in range(_SWEEPS):
        moved = point.move()
        for group in range(len(problem.sizes)):
            moved |= point.exchange(group)
        if not moved:
            break
    return point.checked() or polish(_tightened(problem), levels, reach)


def fill(problem: Problem, levels: Levels) -> Levels:
    """Spend what is left of the budget: widen single groups while one still fits.

    Distortion never rises, because no curve does. What lowers it most is widened first,
    and where nothing does, what costs most.
    """
    point = _Point(problem, levels, reach=0)
    point.move()
    return point.checked() or fill(_tightened(problem), levels)


def _tightened(problem: Problem) -> Problem:
    """Lower the budget by what the rounding of summed cost changes may amount to."""
    return replace(problem, budget=problem.budget - _MARGIN * abs(problem.budget))


class _Point:
    """Levels with the change of cost and distortion of every single move off them."""

    def __init__(self, problem: Problem, levels: Levels, reach: int) -> None:
        self.problem, self.levels, self.reach = problem, list(levels), reach
        ends = np.cumsum((0, *problem.sizes)).tolist()
        self.spans = [slice(a, b) for a, b in pairwise(ends)]
        self.near = [self._window(group) for group in range(len(levels))]
        self.factors: list[list[Factor]] = [[] for _ in levels]
        for factor in problem.factors:
            for group in factor.scope:
                self.factors[group].append(factor)
        # Of every single move, group after group: change of cost, and of distortion.
        self.costs = np.concatenate(first_order(problem, levels))
        self.gains = np.concatenate(
            [curve - curve[level] for curve, level in zip(problem.curves, levels, strict=True)]
        )
        self.room = problem.budget - problem.cost(levels)
        # What a unit of cost is worth: too little to ever trade distortion for it.
        highest = sum(float(curve[0]) for curve in problem.curves)
        scale = max(problem.distortion(levels), _TIE * highest) or 1.0
        self.tie = _TIE * scale / (abs(problem.budget) or 1.0)
        self.least = _ROUNDING * scale

    def checked(self) -> Levels | None:
        """Return the levels, unless rounding has put them over the budget."""
        return tuple(self.levels) if self.problem.feasible(self.levels) else None

    def move(self) -> bool:
        """Make the best single move until none helps."""
        moved = False
        while True:
            merit = np.where(
                self.costs <= self.room, self.gains - self.tie * self.costs, np.inf
            )
            best = int(merit.argmin())
            if merit[best] >= -self.least:
                return moved
            self._set(next(g for g, span in enumerate(self.spans) if best < span.stop), best)
            moved = True

    def exchange(self, group: int) -> bool:
        """Move `group` and one other group at once, if that helps."""
        rows, columns = self.near[group], np.concatenate(self.near)
        ends = np.cumsum([0, *(len(window) for window in self.near)])
        costs = self.costs[rows, np.newaxis] + self.costs[columns]
        for factor in self.factors[group]:
            for other in factor.scope:
                if other != group:
                    block = slice(ends[other], ends[other + 1])
                    costs[:, block] += self._interaction(factor, group, other)
        merit = self.gains[rows, np.newaxis] + self.gains[columns] - self.tie * costs
        merit[costs > self.room] = np.inf
        merit[:, ends[group] : ends[group + 1]] = np.inf
        row, column = divmod(int(merit.argmin()), len(columns))
        if merit[row, column] >= -self.least:
            return False
        self._set(group, int(rows[row]))
        self._set(int(np.searchsorted(ends, column, side="right")) - 1, int(columns[column]))
        return True

    def _interaction(self, factor: Factor, group: int, other: int) -> Array:
        """Return what moving two groups costs beyond the sum of the two single moves."""
        rows, columns = (self.near[g] - self.spans[g].start for g in (group, other))
        at = {group: rows[:, np.newaxis], other: columns}
        both: Array = factor.table[tuple(at.get(g, self.levels[g]) for g in factor.scope)]
        mine = factor.along(group, self.levels)[rows]
        theirs = factor.along(other, self.levels)[columns]
        return both - np.add.outer(mine, theirs) + factor(self.levels)

    def _window(self, group: int) -> Index:
        """Return the positions, among all moves, of those within reach."""
        span, here = self.spans[group], self.spans[group].start + self.levels[group]
        first = max(span.start, here - self.reach)
        return np.arange(first, min(span.stop, here + self.reach + 1))

    def _set(self, group: int, position: int) -> None:
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
