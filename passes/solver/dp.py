"""The default allocator: dynamic programming on the true cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .local_search import polish
from .problem import Allocation, Infeasible
from .relaxation import Relaxation, grid
from .solve import SearchLimits, affordable, bounded, embedded, solve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .cost_tables import Array, Index
    from .lagrange import Dual
    from .problem import Levels, Problem

__all__ = ["DynamicProgramming"]

_WORTHWHILE = 1e-3
_RECENT = 3


@dataclass(frozen=True)
class DynamicProgramming(SearchLimits):
    """Allocator of least distortion within the budget, with a certified optimality gap.

    The costs of groups multiply, so that a knapsack on separate costs would be wrong. Given
    a price for cost, the best widths are found exactly by non-serial dynamic programming
    (Bertele and Brioschi 1972; bucket elimination, Dechter 1999), or, where groups are too
    entangled for that, bounded by message passing (Kolmogorov 2006). The best price gives a
    lower bound (Everett 1963). Solutions at several prices and of knapsacks on the
    linearised cost, as in SPDY (Frantar and Alistarh 2022), start a local search on the
    true cost. Levels that the bound excludes are dropped, and a dynamic program over
    Pareto-optimal states searches what is left. RD-PRUNE (Xu et al., *Efficient Joint
    Optimization of Layer-Adaptive Weight Pruning in Deep Neural Networks*, ICCV 2023)
    allocates on distortion curves too, for single weights, whose counts are additive.

    With many levels per group, a coarse grid of them is solved first, then ever finer ones
    around the solution. The lower bound holds for all levels nonetheless: it is that of
    `Relaxation` over intervals of levels, which are split until it is tight.

    Of equal distortions the one of more cost is preferred, so that the budget is used.

    Attributes:
        rounds: most refinements of the grid, and of the intervals.
    """

    name: ClassVar[str] = "dp"
    rounds: int = 6

    def __call__(self, problem: Problem) -> Allocation:
        """Choose widths within the budget; see `Allocator`."""
        if problem.feasible(problem.dense):
            least = problem.distortion(problem.dense)
            return Allocation.of(problem, problem.dense, self.name, least)
        if not problem.feasible(problem.cheapest):
            raise Infeasible(problem.smallest_cost())
        count = affordable(problem, self)
        if max(problem.sizes) <= count:
            levels, bound = solve(problem, problem.cheapest, self)
        else:
            levels = self._refined(problem, problem.cheapest, count)
            levels, bound = self._certified(problem, levels, count)
        return Allocation.of(problem, polish(problem, levels), self.name, bound)

    def _refined(self, problem: Problem, levels: Levels, count: int) -> Levels:
        """Solve on an even grid of levels, then on grids ever finer around the solution."""
        centre: Sequence[int | None] = [None] * len(levels)
        for _ in range(self.rounds):
            choice = [
                np.union1d(grid(size, count, middle), [level])
                for size, middle, level in zip(problem.sizes, centre, levels, strict=True)
            ]
            before = problem.distortion(levels)
            found, _ = solve(problem.restrict(choice), _located(levels, choice), self)
            centre = levels = embedded(found, choice)
            if before - problem.distortion(levels) <= _WORTHWHILE * before:
                break
        return levels

    def _certified(self, problem: Problem, levels: Levels, count: int) -> tuple[Levels, float]:
        """Bound the distortion over all levels, and search those that may be better."""
        dual = self._bound(problem, levels, count)
        bound, bounds = dual.bound, dual.level_bounds()
        for _ in range(self.rounds):
            upper = problem.distortion(levels)
            if upper - bound <= self.tolerance * bound:
                break
            left, ceiling = self._left(problem, levels, dual, bounds)
            found, least = solve(problem.restrict(left), _located(levels, left), self)
            levels = embedded(found, left)
            bound = max(bound, min(least, ceiling))
            if problem.distortion(levels) >= upper:
                break
        return levels, bound

    def _left(
        self, problem: Problem, levels: Levels, dual: Dual, bounds: Sequence[Array]
    ) -> tuple[list[Index], float]:
        """Return few enough levels to solve, and a distortion that all others exceed."""
        own = [np.array([level]) for level in levels]
        for ceiling in dual.ceilings(problem.distortion(levels)):
            within = dual.relaxation.levels(bounds, ceiling)
            left = [np.union1d(*pair) for pair in zip(within, own, strict=True)]
            if max(map(len, left)) <= affordable(problem.restrict(left), self):
                return left, ceiling
        return own, dual.bound

    def _bound(self, problem: Problem, levels: Levels, count: int) -> Dual:
        """Bound the distortion over intervals of levels, splitting those that matter."""
        upper = problem.distortion(levels)
        starts = [
            np.union1d(grid(size, count // 2), grid(size, count // 2, level))
            for size, level in zip(problem.sizes, levels, strict=True)
        ]
        known = [levels]
        dual = bounded(problem, Relaxation(problem, levels, starts), known, self)
        for _ in range(self.rounds):
            if upper - dual.bound <= self.tolerance * dual.bound:
                break
            chosen = np.array(dual.points[-_RECENT:]).T
            starts = [
                np.union1d(start, _around(start, group))
                for start, group in zip(starts, chosen, strict=True)
            ]
            if sum(map(len, starts)) == sum(dual.relaxation.sizes):
                break
            known += dual.points
            dual = bounded(problem, Relaxation(problem, levels, starts), known, self)
        return dual


def _around(starts: Index, levels: Index) -> Index:
    """Return where to split the intervals of `levels`: ever finer towards the levels."""
    where = np.searchsorted(starts, levels, side="right")
    first, stop = starts[where - 1], np.append(starts, starts[-1] + 1)[where]
    steps = np.append(0, 2 ** np.arange(int(starts[-1]).bit_length()))
    splits = np.hstack([np.subtract.outer(levels, steps), np.add.outer(levels + 1, steps)])
    inside = (splits >= first[:, np.newaxis]) & (splits < stop[:, np.newaxis])
    return splits[inside]


def _located(levels: Levels, choice: Sequence[Index]) -> Levels:
    """Return levels of the whole problem as levels of the one restricted to `choice`."""
    return tuple(
        int(np.searchsorted(kept, level)) for kept, level in zip(choice, levels, strict=True)
    )
