"""Solve a problem of few levels: lower bound, start points, local search, closing the gap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .elimination import Elimination, elimination_order, work
from .knapsack import linearised_points
from .lagrange import ascend
from .local_search import polish
from .pareto_search import ParetoSearch
from .relaxation import Line, Relaxation
from .trws import Messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .cost_tables import Index
    from .lagrange import Dual
    from .problem import Levels, Problem

__all__ = ["SearchLimits", "affordable", "bounded", "embedded", "solve"]

_LEVELS = (64, 48, 32, 24, 16, 12, 8)
_FINE = 24  # levels, from which on elimination is preferred to message passing
_STARTS = 2


@dataclass(frozen=True)
class SearchLimits:
    """Limits on the work of a search.

    Attributes:
        cells: table cells per exact elimination.
        states: Pareto states kept per bucket and separator levels when closing the gap.
        state_cells: most table cells for which the gap is closed by Pareto states.
        prices: most prices tried per bound.
        iterations: message-passing iterations per price, where elimination is too large.
        tolerance: relative gap that need not be closed.
    """

    cells: int = 4_000_000
    states: int = 8_000
    state_cells: int = 10_000
    prices: int = 40
    iterations: int = 50
    tolerance: float = 1e-4


def affordable(problem: Problem, limits: SearchLimits) -> int:
    """Return how many levels per group `solve` can take."""
    order = elimination_order(
        [min(size, _LEVELS[-1]) for size in problem.sizes], problem.factors, limits.cells
    )
    widest = max(problem.sizes)
    for count in _LEVELS:
        sizes = [min(size, count) for size in problem.sizes]
        enough = count >= min(_FINE, widest)
        if order is not None and enough and work(sizes, order) <= limits.cells:
            return count
    pairs = sum(len(factor.scope) > 1 for factor in problem.factors)
    return next((n for n in _LEVELS if pairs * n**2 <= limits.cells), _LEVELS[-1])


def bounded(
    problem: Problem, relaxation: Relaxation, known: Sequence[Levels], limits: SearchLimits
) -> Dual:
    """Return the best Lagrangian bound that the relaxation gives.

    Args:
        problem: whose widest levels are over the budget.
        relaxation: relaxation of the problem.
        known: levels near the optimum, at least one of them within the budget.
        limits: how much work to spend.
    """
    solver = Elimination.plan(relaxation.sizes, relaxation.factors, 2 * limits.cells) or Messages(
        relaxation.sizes, relaxation.factors, limits.iterations
    )
    points = (problem.dense, problem.cheapest, *known)
    lines = [Line(problem.cost(point), problem.distortion(point)) for point in points]
    return ascend(relaxation, solver, problem.budget, lines, limits.prices)


def solve(problem: Problem, start: Levels, limits: SearchLimits) -> tuple[Levels, float]:
    """Return good levels and a lower bound of the distortion within the budget.

    Args:
        problem: with few levels per group, see `affordable`.
        start: levels within the budget; the result is no worse.
        limits: how much work to spend.
    """
    if problem.feasible(problem.dense):
        return problem.dense, problem.distortion(problem.dense)
    dual = bounded(problem, Relaxation(problem, start), [start], limits)
    best = _primal(problem, (*dual.points, start))
    if problem.distortion(best) - dual.bound <= limits.tolerance * dual.bound:
        return best, dual.bound
    return _closed(problem, best, dual, limits)


def _primal(problem: Problem, points: Iterable[Levels]) -> Levels:
    """Improve the best points within the budget, and knapsack solutions from there."""
    starts = _best(problem, points)
    starts += _best(problem, linearised_points(problem, starts[0]))
    return _best(problem, [polish(problem, start) for start in starts])[0]


def _best(problem: Problem, points: Iterable[Levels]) -> list[Levels]:
    """Return the points of least distortion within the budget."""
    feasible = [point for point in dict.fromkeys(points) if problem.feasible(point)]
    return sorted(feasible, key=problem.distortion)[:_STARTS]


def _closed(
    problem: Problem, best: Levels, dual: Dual, limits: SearchLimits
) -> tuple[Levels, float]:
    """Search all levels that a better choice may have, or at least raise the bound."""
    bounds = dual.level_bounds()
    for ceiling in dual.ceilings(problem.distortion(best)):
        left = dual.relaxation.levels(bounds, ceiling)
        sub = problem.restrict(left)
        exact = Relaxation(sub, (0,) * len(left))
        elimination = Elimination.plan(exact.sizes, exact.factors, limits.state_cells)
        if elimination is None:
            continue
        search = ParetoSearch(sub, exact, elimination, dual.weight, limits.states)
        found, floor = search.run(ceiling)
        if found is not None:
            best = min(best, embedded(found, left), key=problem.distortion)
        return best, max(dual.bound, min(floor, problem.distortion(best)))
    return best, dual.bound


def embedded(levels: Sequence[int], choice: Sequence[Index]) -> Levels:
    """Return levels of a restricted problem as levels of the whole one."""
    return tuple(int(kept[level]) for kept, level in zip(choice, levels, strict=True))
