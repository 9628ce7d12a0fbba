"""Pose the choice of widths to the solver, and read its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graphprune.analysis.analyse import Analysis
from graphprune.passes.decision import ROUNDING, BudgetStatus
from graphprune.passes.solver import (
    Allocation,
    Allocator,
    EqualWidths,
    Factor,
    JointlyInfeasible,
    Problem,
    allocate,
    approach,
)

from .costs import Cost
from .infeasible import infeasible, jointly_infeasible
from .rounding import SLACK
from .width_limits import Limits

if TYPE_CHECKING:
    from graphprune.passes.solver.problem import Levels

__all__ = ["WidthProblem"]

PRICE = 1.05
"""Factor by which the distortion may rise when a plan is moved up to its budget. Where single channels cost
much, the plans that fill the budget may be far worse than the best one below it."""


@dataclass(frozen=True)
class WidthProblem:
    """Which of its candidate widths does each group keep, so that all budgets are met?

    Attributes:
        analysis: the analysis of the dense program.
        costs: what each budget bounds, as functions of the widths.
        asked: the budgets, in the same order.
        widths: candidate widths of every group. Unit: channels.
        curves: predicted distortion of every group at each of them.
        equal: which groups must have equal widths.
        limits: the limits that the widths come from, for messages.
    """

    analysis: Analysis
    costs: Sequence[Cost]
    asked: Sequence[BudgetStatus]
    widths: Sequence[NDArray[np.int64]]
    curves: Sequence[NDArray[np.float64]]
    equal: EqualWidths
    limits: Limits

    def solved(self, allocator: Allocator) -> Allocation:
        """Choose one candidate for each group within all budgets.

        Raises:
            InfeasibleBudgetError: if no choice meets them.
        """
        parts = [
            (number, self._problem(asked, factors))
            for number, (cost, asked) in enumerate(zip(self.costs, self.asked, strict=True))
            for factors in cost.factors(self.widths, self.equal)
        ]
        numbers, problems = [number for number, _ in parts], [problem for _, problem in parts]
        for number, problem in parts:
            if (smallest := problem.smallest_cost()) > problem.budget:
                raise infeasible(self.analysis, self.asked[number], smallest, self.limits)
        exact = all(cost.is_exact(self.widths) for cost in self.costs)

        def ratios(levels: Levels) -> NDArray[np.float64]:
            return self._ratios(levels)[numbers]

        try:
            if len(problems) == 1 and exact:
                return self.equal.whole(self._filled(problems[0], allocator(problems[0])))
            return self.equal.whole(allocate(problems, allocator, None if exact else ratios))
        except JointlyInfeasible as error:
            raise jointly_infeasible(self.asked, numbers, error.ratios, self.limits) from error

    def _problem(self, asked: BudgetStatus, factors: tuple[Factor, ...]) -> Problem:
        """Pose one sum of costs under its budget."""
        # Sums of times are rounded; other costs are whole numbers.
        bound = asked.bound * (ROUNDING if asked.cost == "latency" else 1)
        curves = tuple(np.asarray(curve, dtype=np.float64) for curve in self.curves)
        return self.equal.merged(Problem(tuple(self.widths), curves, factors, bound))

    def _ratios(self, levels: Levels) -> NDArray[np.float64]:
        """Return the exact cost of a choice over its bound, for each budget."""
        chosen = [int(w[i]) for w, i in zip(self.widths, self.equal.spread(levels), strict=True)]
        pairs = zip(self.costs, self.asked, strict=True)
        return np.array([cost.at(chosen) / asked.bound for cost, asked in pairs])

    def _filled(self, problem: Problem, found: Allocation) -> Allocation:
        """Move an allocation up to its budget, if that raises the distortion little."""
        (asked,) = self.asked
        if asked.cost not in ("macs", "params"):
            return found
        least = min(problem.budget, asked.dense) - SLACK * asked.dense
        levels = approach(problem, found.levels, least)
        if problem.distortion(levels) > PRICE * found.distortion:
            return found
        return Allocation.of(problem, levels, found.method, found.lower_bound)
