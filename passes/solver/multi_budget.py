"""Allocate under several budgets at once, by allocators that take one.

Budgets are added up with weights: ``sum_k m_k cost_k / budget_k <= 1`` follows from all of them
for any weights that sum to 1, so the best choice under the sum alone bounds the best choice under
all: the surrogate relaxation (Glover, *Surrogate constraints*, Operations Research 16, 1968). It is
a problem of one budget, which is solved as such. If its solution meets all budgets it is the best
there is; otherwise those that it exceeds are given more weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .cost_tables import Factor, absorb
from .problem import Allocation, Infeasible, Problem
from .relaxation import first_order

if TYPE_CHECKING:
    from .allocators import Allocator
    from .cost_tables import Array
    from .problem import Levels

__all__ = ["JointlyInfeasible", "allocate"]

_STEPS = (16.0, 12.0, 12.0, 8.0, 8.0, 6.0, 6.0, 4.0, 4.0, 2.0)
"""Exponents of the excess by which weights grow, round by round."""

_NEAR = 1.01
"""Ratio of cost to budget up to which an excess is left to the repair."""

_REPAIRS = 12
_MET = 1 + 1e-9

Ratios = Callable[["Levels"], "Array"]


class JointlyInfeasible(Exception):  # noqa: N818 - a condition the caller reports, not a defect
    """Signal that no choice of widths meets all budgets.

    Attributes:
        ratios: cost over budget of each problem, at the choice that comes nearest.
    """

    def __init__(self, ratios: Array) -> None:
        super().__init__(f"the nearest has {ratios} times the budgets")
        self.ratios = ratios


def allocate(
    problems: Sequence[Problem], allocator: Allocator, exact: Ratios | None = None
) -> Allocation:
    """Choose widths that meet all budgets.

    Args:
        problems: the same widths and curves with one cost and its budget each.
        allocator: allocator under one budget.
        exact: levels -> cost over budget of each problem, for problems whose tables only come
            near their cost.

    Returns:
        An allocation; its ``cost`` is the largest cost over budget, at most 1.

    Raises:
        JointlyInfeasible: if no choice was found that meets all. If ``exact`` isn't given and
            the allocator is exact, there is none, or there is none within its gap.
    """
    ratios = exact or (lambda levels: np.array([p.cost(levels) / p.budget for p in problems]))
    # Begin with the budget that asks for most, alone; others get weights when they are exceeded.
    weights = np.zeros(len(problems))
    weights[int(ratios(problems[0].dense).argmax())] = 1.0
    tried: list[tuple[float, int, Array]] = []
    bound = 0.0
    for step in _STEPS:
        surrogate = _surrogate(problems, weights, 1.0)
        try:
            found = allocator(surrogate)
        except Infeasible as error:
            if exact is None:  # the weighted sum bounds every choice, so none meets all budgets
                raise JointlyInfeasible(ratios(_nearest(problems, weights, ratios))) from error
            break
        reached = ratios(found.levels)
        bound = max(bound, found.lower_bound or 0.0) if exact is None else 0.0
        if reached.max() <= _MET:
            return _judged(problems, found.levels, ratios, allocator.name, bound)
        tried.append((float(reached.max()), len(tried), weights))
        worst = int(reached.argmax())
        if reached.max() <= _NEAR or weights[worst] == 1.0:
            break
        if weights[worst] == 0:
            weights = weights / 2
            weights[worst] = 0.5
        else:
            weights = weights * np.maximum(reached, 1e-6) ** step
            weights = weights / weights.sum()
    # Try again with the weights that came nearest, under a lower bound on their sum.
    for _, _, nearest in sorted(tried, key=lambda each: each[:2])[:2]:
        repaired = _repaired(problems, nearest, allocator, ratios, bound)
        if repaired is not None:
            return repaired
    cheap = _nearest(problems, weights, ratios)
    if ratios(cheap).max() <= _MET:
        return _judged(problems, cheap, ratios, allocator.name, bound)
    raise JointlyInfeasible(ratios(cheap))


def _surrogate(problems: Sequence[Problem], weights: Array, budget: float) -> Problem:
    parts = [
        Factor(f.scope, f.table * (weight / problem.budget))
        for problem, weight in zip(problems, weights.tolist(), strict=True)
        if weight > 1e-6
        for f in problem.factors
    ]
    return replace(problems[0], factors=absorb(parts), budget=budget)


def _repaired(
    problems: Sequence[Problem], weights: Array, allocator: Allocator, ratios: Ratios, bound: float
) -> Allocation | None:
    """Lower the budget of the weighted sum until all budgets are met."""
    budget = 1.0
    for _ in range(_REPAIRS):
        surrogate = _surrogate(problems, weights, budget)
        try:
            levels = allocator(surrogate).levels
        except Infeasible:
            levels = surrogate.cheapest
            if ratios(levels).max() > _MET:
                return None
        worst = float(ratios(levels).max())
        if worst <= _MET:
            return _judged(problems, levels, ratios, allocator.name, bound)
        budget /= worst * (1 + 1e-4)
    return None


def _nearest(problems: Sequence[Problem], weights: Array, ratios: Ratios) -> Levels:
    """Return the cheapest choice whose worst ratio of cost to budget is least."""
    tried = [_surrogate(problems, weights, 1.0), *problems]
    return min((p.cheapest for p in tried), key=lambda levels: float(ratios(levels).max()))


def _judged(
    problems: Sequence[Problem], levels: Levels, ratios: Ratios, name: str, bound: float
) -> Allocation:
    filled = _filled(problems, levels, ratios)
    made = Allocation.of(problems[0], filled, name, bound or None)
    return replace(made, cost=float(ratios(filled).max()))


def _filled(problems: Sequence[Problem], levels: Levels, ratios: Ratios) -> Levels:
    """Widen single groups, those that gain most first, while all budgets are met."""
    now = list(levels)
    for _ in range(200):
        room = [p.budget - p.cost(now) for p in problems]
        moves = [first_order(p, now) for p in problems]
        best: tuple[float, int, int] | None = None
        for group, curve in enumerate(problems[0].curves):
            fits = np.logical_and.reduce([m[group] <= r for m, r in zip(moves, room, strict=True)])
            gain = np.where(fits, curve[now[group]] - curve, -np.inf)
            level = int(gain.argmax())
            if gain[level] > 0 and (best is None or gain[level] > best[0]):
                best = float(gain[level]), group, level
        if best is None:
            break
        tried = list(now)
        tried[best[1]] = best[2]
        if ratios(tuple(tried)).max() > _MET:
            break
        now = tried
    return tuple(now)
