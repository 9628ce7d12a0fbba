"""Given: a plan that was made before takes the place of a decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphprune.analysis import Analysis
from graphprune.budget import Budget
from graphprune.cost import Polynomial
from graphprune.errors import PlanError
from graphprune.graph import fingerprint
from graphprune.pipeline import AnalysisPass, State
from graphprune.plan import Plan

from .allocate import Decision, make_plan
from .allocation import Allocation
from .score import Scores

__all__ = ["Given"]

_COSTS = ("macs", "params")


@dataclass(frozen=True, kw_only=True)
class Given(AnalysisPass):
    """Take the widths and channels of a plan.

    Given: a plan made for this architecture. Result: a decision with its costs on this
    program, and the score it removes. Without a budget of its own the plan is held against
    the dense MACs.

    Attributes:
        plan: what to apply.
    """

    name: ClassVar[str] = "given-plan"
    needs = (Analysis, Scores)
    gives = (Decision,)
    plan: Plan

    def run(self, state: State) -> Decision:
        """Check the plan and work out what it costs.

        Raises:
            MismatchError: if it was made for another architecture.
            PlanError: if its budget can't be meant.
        """
        analysis, scores = state[Analysis], state[Scores]
        self.plan.check(fingerprint(analysis.module), {g.id: g.width for g in analysis.groups},
                        allow_inexact=analysis.allow_inexact)
        name, amount = next(iter(self.plan.budget.items()), ("macs", 1.0))
        if name not in _COSTS or len(self.plan.budget) > 1:
            raise PlanError(f"the plan's budget must be one of {', '.join(_COSTS)}, "
                            f"got {', '.join(self.plan.budget)!a:.80}", hint="see docs/plan-format.md")
        # In the order of this analysis, whatever the file's; the costs are its own.
        plan = make_plan(analysis, self.plan.keep, {name: amount})
        widths = [len(group.keep) for group in plan.groups]
        cost: Polynomial = getattr(analysis.costs, name)
        dense, reached = cost.at(analysis.widths), cost.at(widths)
        lost = sum(float(scores.curve(g.id)[len(g.keep)]) for g in plan.groups)
        allocation = Allocation(levels=tuple(widths), cost=reached, distortion=lost, lower_bound=None,
                                gap=None, method="plan")
        return Decision(plan, allocation, dense, Budget(name, amount).absolute(dense), reached)
