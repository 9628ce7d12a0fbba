"""The pass that applies a plan made before, in place of choosing one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphprune.analysis.analyse import Analysis
from graphprune.cut.cut import check_plan
from graphprune.errors import PlanError
from graphprune.passes.decision import BudgetStatus, Decision, make_plan
from graphprune.passes.score import Scores
from graphprune.passes.solver import Allocation
from graphprune.pipeline import AnalysisPass, State
from graphprune.plan.budget import Budget
from graphprune.plan.latency_table import LatencyTable
from graphprune.plan.plan import Plan
from graphprune.report.text import COSTS

from .branches import distortions, gone_whole
from .costs import cost_left, cost_of

__all__ = ["GivenPlan"]


@dataclass(frozen=True, kw_only=True)
class GivenPlan(AnalysisPass):
    """Take the kept channels of a plan that was made before.

    Given: a plan made for this architecture. Result: a decision with its costs on this
    program, and the score it removes. A plan without a budget is compared with the dense MACs.

    Attributes:
        plan: the plan to apply.
    """

    name: ClassVar[str] = "given-plan"
    needs = (Analysis, Scores)
    gives = (Decision,)
    plan: Plan

    def run(self, state: State) -> Decision:
        """Check the plan against this network, and compute its costs.

        Raises:
            MismatchError: if it was made for another architecture.
            PlanError: if its budget names an unknown cost, or isn't above 0.
        """
        analysis, scores = state[Analysis], state[Scores]
        check_plan(self.plan, analysis)
        wrong = [n for n, amount in self.plan.budget.items() if n not in COSTS or amount <= 0]
        if wrong:
            raise PlanError(
                f"the plan's budgets must be above 0, and of {', '.join(COSTS)}; "
                f"this is neither: {', '.join(wrong)!a:.80}",
                hint="see docs/plan-format.md",
            )
        asked = [Budget(*entry) for entry in self.plan.budget.items()] or [Budget("macs", 1.0)]
        # In the order of this analysis, whatever the file's; the costs are its own.
        plan = make_plan(analysis, self.plan.keep, {b.cost: b.amount for b in asked})
        widths = [len(group.keep) for group in plan.groups]
        table = state.get(LatencyTable)
        met = [
            _status(state, b, table, widths)
            for b in asked
            if b.cost != "latency" or table is not None
        ]
        notes = (
            [] if len(met) == len(asked) else ["without a table, the plan's latency isn't checked"]
        )
        notes += gone_whole(analysis, [n for n, width in enumerate(widths) if not width])
        if not met:
            met = [_status(state, Budget("macs", 1.0), None, widths)]
        curves = {g.id: scores.curve(g.id) for g in analysis.groups}
        lost = sum(distortions(analysis, curves, plan))
        allocation = Allocation(
            levels=tuple(widths),
            cost=met[0].reached,
            distortion=lost,
            lower_bound=None,
            gap=None,
            method="plan",
        )
        return Decision(plan, allocation, tuple(met), tuple(notes))


def _status(
    state: State, budget: Budget, table: LatencyTable | None, widths: Sequence[int]
) -> BudgetStatus:
    analysis = state[Analysis]
    cost = cost_of(budget.cost, analysis, state.program, table, depth=0 in widths)
    dense = cost.at(analysis.widths)
    reached = cost_left(cost, budget.cost, analysis, widths, state.program)
    return BudgetStatus(budget.cost, budget.amount, dense, budget.absolute(dense), reached)
