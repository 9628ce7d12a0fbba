"""The pass that keeps all channels but those that go with no loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphprune.analysis.analyse import Analysis
from graphprune.passes.decision import BudgetStatus, Decision, make_plan
from graphprune.passes.lossless.redundant import Redundant, capped
from graphprune.passes.score import Scores
from graphprune.passes.solver import Allocation
from graphprune.pipeline import AnalysisPass, State
from graphprune.rebuild.class_constraints import ClassConstraints
from graphprune.rebuild.config_fields import ConfigFields

from .costs import cost_of
from .width_limits import Limits

__all__ = ["LosslessPlan"]


@dataclass(frozen=True, kw_only=True)
class LosslessPlan(AnalysisPass):
    """Keep everything that the function of the network needs, and nothing else.

    Given: redundant channels, which score lowest. Result: a decision that removes them, as far as
    the limits allow. There is no budget; its cost is compared with the dense MACs.

    Attributes:
        limits: the limits on the widths.
    """

    name: ClassVar[str] = "lossless-plan"
    needs = (Analysis, Scores, Redundant)
    gives = (Decision,)
    limits: Limits

    @property
    def keep_class(self) -> bool:
        """Whether widths must be such that the code of the model's class follows."""
        return self.limits.keep_class

    @property
    def keep_config(self) -> bool:
        """Whether widths must be such that the config of the model can state them."""
        return self.limits.keep_config

    def run(self, state: State) -> Decision:
        """Choose the smallest widths that lose nothing.

        Raises:
            OptionError: if a pattern of ``protect`` matches nothing.
        """
        analysis, scores, found = state[Analysis], state[Scores], state[Redundant]
        widths, equal = self.limits.widths(
            analysis, state.get(ClassConstraints), state.get(ConfigFields)
        )
        allowed = capped(equal.common(widths), equal, analysis, found)
        chosen = [int(w[-1]) for w in allowed]
        keep = {g.id: scores.keep(g.id, n) for g, n in zip(analysis.groups, chosen, strict=True)}
        cost = cost_of("macs", analysis, state.program, None)
        dense, reached = cost.at(analysis.widths), cost.at(chosen)
        allocation = Allocation(
            levels=tuple(chosen),
            cost=reached,
            distortion=0.0,
            lower_bound=0.0,
            gap=0.0,
            method="lossless",
        )
        status = BudgetStatus("macs", 1.0, dense, dense, reached)
        return Decision(make_plan(analysis, keep, {}), allocation, (status,))
