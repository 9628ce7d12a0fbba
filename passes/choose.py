"""Choose: several plans, each repaired, and the one whose output is nearest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from graphprune.analysis import Analysis
from graphprune.pipeline import AnalysisPass, State

from .allocate import Allocate, Decision
from .observe import Observations
from .recover import repair
from .score import Scores

__all__ = ["Choose"]


@dataclass(frozen=True)
class Choose(AnalysisPass):
    """Allocate by every variant of the curves, repair each plan, keep the best.

    The distortions of single groups don't quite add up. The error of the repaired network's
    output on data kept aside does count them together, and it needs no labels.

    Given: scores with variants, and measurements. Result: a decision with its repaired weights.

    Attributes:
        allocate: makes the plans.
    """

    name: ClassVar[str] = "choose"
    needs = (Analysis, Scores, Observations)
    gives = (Decision,)
    allocate: Allocate

    def run(self, state: State) -> Decision:
        """Allocate, repair and compare.

        Raises:
            InfeasibleBudgetError: if the limits don't allow the budget.
        """
        scores, seen = state[Scores], state[Observations]
        tried: dict[str, Decision] = {}
        for name, curves in (scores.variants or {"": scores.curves}).items():
            found = self.allocate.run(state.knowing(replace(scores, curves=curves)))
            if any(found.plan == other.plan for other in tried.values()):
                continue
            repaired = repair(seen, seen.analysis.kept(found.plan.keep), stage=f"choose {name}".rstrip())
            tried[name] = replace(found, repaired=repaired)
        errors = {name: each.repaired.error for name, each in tried.items() if each.repaired}
        best = min(errors, key=errors.__getitem__)
        listed = ", ".join(f"{name} {error:.4f}" for name, error in errors.items())
        note = f"curves: {best}, by the repaired network's output error ({listed})"
        return replace(tried[best], notes=(*tried[best].notes, *([note] if best else [])))
