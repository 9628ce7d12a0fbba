"""Lagrangian relaxation: charge a price for cost instead of bounding it, and find the best price.

For any price (weight) the minimum v of distortion + weight * cost gives the lower bound
v - weight * budget (Everett, *Generalized Lagrange multiplier method*, Operations Research
11, 1963), whether the curves are convex or not. The best price is where v, a concave
piecewise linear function, has the slope of the budget; it is found by intersecting two of
its supporting lines (Handler and Zang, *A dual algorithm for the constrained shortest path
problem*, Networks 10, 1980).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .cost_tables import Array
    from .problem import Levels
    from .relaxation import Line, Relaxation

__all__ = ["Dual", "Solver", "ascend"]

_ROUNDING = 1e-12
_SLACK = 1e-10
_SHARES = (1.0, 0.5, 0.25, 0.12, 0.06, 0.03, 0.01)


class Solver(Protocol):
    """Solver that minimises summed tables, exactly or from below."""

    def minimise(self, unary: Sequence[Array], weight: float) -> tuple[float, Levels]:
        """Return a lower bound of the minimum, and levels that attain it or come close."""
        ...

    def marginals(self, unary: Sequence[Array], weight: float) -> list[Array]:
        """Return per group and level a lower bound of the minimum with that level."""
        ...


@dataclass(frozen=True, eq=False)
class Dual:
    """Best price found for a relaxation, and the lower bound that it gives.

    Attributes:
        relaxation: the relaxation that was bounded.
        solver: solver of the relaxation's factors.
        budget: absolute, in the unit of the cost.
        weight: price per unit of cost.
        bound: no choice within the budget has a smaller distortion.
        points: levels that were best at each price tried.
    """

    relaxation: Relaxation
    solver: Solver
    budget: float
    weight: float
    bound: float
    points: tuple[Levels, ...]

    def level_bounds(self) -> list[Array]:
        """Return per group and interval a lower bound of the distortion of a choice there within the budget.

        Where this lower bound is above what some choice already reaches, the interval can
        be excluded for good: reduced-cost fixing.
        """
        values = self.solver.marginals(self.relaxation.unary(self.weight), self.weight)
        free = self.weight * (self.budget - self.relaxation.constant)
        return [value - free - _SLACK * np.abs(value) for value in values]

    def ceilings(self, upper: float) -> list[float]:
        """Return distortions from `upper` down towards the bound.

        Where too many levels are within `upper` to search them all, a search below a lower
        ceiling may still find a better choice, or raise the bound to that ceiling.
        """
        return [self.bound + share * (upper - self.bound) for share in _SHARES]


def ascend(
    relaxation: Relaxation, solver: Solver, budget: float, lines: Sequence[Line], steps: int
) -> Dual:
    """Find the price that gives the best bound.

    Args:
        relaxation: relaxation of the problem.
        solver: solver of the relaxation's factors.
        budget: absolute, in the unit of the cost.
        lines: lines of some choices of levels, among them one within and one above the budget.
        steps: most prices to try.
    """
    known = list(lines)
    points: list[Levels] = []
    over = max(known, key=lambda line: line.cost)
    under = min(known, key=lambda line: line.cost)
    weight, bound = 0.0, sum(float(curve[-1]) for curve in relaxation.curves)
    for _ in range(steps):
        over, under = _tightened(over, under, known, budget)
        price = _crossing(over, under)
        value, intervals = solver.minimise(relaxation.unary(price), price)
        value += price * (relaxation.constant - budget)
        if value >= bound:
            weight, bound = price, value
        points.append(relaxation.inside(intervals, price))
        line = relaxation.line(intervals, points[-1])
        known.append(line)
        if not (_below(line, over, price) and _below(line, under, price)):
            break
    return Dual(relaxation, solver, budget, weight, bound, tuple(points))


def _tightened(over: Line, under: Line, known: Sequence[Line], budget: float) -> tuple[Line, Line]:
    """Replace the two lines by known ones until none is below their crossing."""
    for _ in known:
        price = _crossing(over, under)
        lowest = min(known, key=lambda line: line.at(price))
        if not _below(lowest, over, price):
            break
        over, under = (lowest, under) if lowest.cost > budget else (over, lowest)
    return over, under


def _crossing(over: Line, under: Line) -> float:
    return max(0.0, (under.distortion - over.distortion) / (over.cost - under.cost))


def _below(line: Line, other: Line, price: float) -> bool:
    return line.at(price) < other.at(price) * (1 - _ROUNDING)
