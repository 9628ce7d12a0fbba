"""Plans for the weights of the moment, within budgets that may still be on their way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphprune.analysis.analyse import Analysis
from graphprune.cut.cut import Cut, check_plan
from graphprune.data.calibration import Calibration
from graphprune.errors import OptionError
from graphprune.ir.unwrap import unwrap
from graphprune.loading import check_finite
from graphprune.passes import Decision, Observe, Score, Scores
from graphprune.passes.allocate.costs import cost_of
from graphprune.passes.allocate.given_plan import GivenPlan
from graphprune.passes.decision import BudgetStatus
from graphprune.passes.observe import Observations
from graphprune.passes.score import additive
from graphprune.pipeline import Pipeline, State
from graphprune.plan.budget import Budget
from graphprune.plan.latency_table import LatencyTable
from graphprune.plan.plan import Plan
from graphprune.rebuild.class_constraints import ClassConstraints
from graphprune.workflow.decider import deciding_passes

from .planning import Planning
from .refit import refitted

__all__ = ["Planner"]


class Planner:
    """Chooses channels by the live weights, any number of times; the analysis is made once.

    The traced program has the module's own parameters, so each plan sees the values that they have by then.

    Args:
        planning: the module that is trained, and how to plan.
        budgets: what to meet, unless there is a plan.
        plan: a plan that stays.
        asked: the budgets as they were counted when training began, if layers have shrunk since: shares stay shares of
            the network of then.

    Raises:
        OptionError: if the parameters that the program has aren't those of the module.
    """

    def __init__(
        self,
        planning: Planning,
        budgets: Sequence[Budget],
        plan: Plan | None = None,
        asked: Sequence[BudgetStatus] = (),
    ) -> None:
        job = planning.begin()
        self._model = unwrap(planning.model)
        _check_live(planning.model, job.scored[Analysis])
        self._job, self._budgets, self._given = job, tuple(budgets), plan
        self.options = planning.options
        self._found: tuple[Any, ...] = ()
        self.asked = tuple(asked)
        self.first = first = self._decided(job.scored, 1.0)
        self.asked = self.asked or first[Decision].budgets
        table, constraints = first.get(LatencyTable), first.get(ClassConstraints)
        if table is not None:
            self.options = replace(self.options, latency_table=table)
        self._found = tuple(f for f in (table, constraints) if f is not None)
        self._costs = {
            status.cost: cost_of(status.cost, self.analysis, first.program, table)
            for status in first[Decision].budgets
        }

    @property
    def analysis(self) -> Analysis:
        """The analysis of the model, whose parameters are live."""
        return self._job.scored[Analysis]

    def plan(self, share: float = 1.0, values: Tensor | None = None) -> Decision:
        """Choose the channels to keep, by the weights of the moment or by given values.

        Args:
            share: of the way from the dense costs to the budgets, (0, 1].
            values: ``[channels]``, not negative: what is lost with each channel, instead of a criterion.

        Raises:
            LoadError: if the weights are NaN or infinite, as those of a training that diverged.
        """
        check_finite(self._model.named_parameters(), (), type(self._model).__name__)
        state = self._job.scored
        if values is not None:
            return self._decided(state.knowing(self._scores(values)), share)[Decision]
        state = self._observed()
        scored = Pipeline([Score(self.options.criterion(state))], given=tuple(state.facts)).run(
            state
        )
        return self._decided(scored, share)[Decision]

    def refitted(self, plan: Plan) -> dict[str, Tensor]:
        """Refit what a plan keeps to what the network computes now, if there is calibration data; see ``refit.py``."""
        state = self._observed()
        seen = state.get(Observations)
        return {} if seen is None else refitted(seen, plan)

    def _observed(self) -> State:
        """Measure the network of the moment, where there is calibration data."""
        state = self._job.scored
        if state.get(Calibration) is None:
            return state
        return Pipeline([Observe()], given=tuple(state.facts)).run(state)

    def cut(self, plan: Plan) -> Cut:
        """Make the cut of a plan for this model."""
        return Cut.from_plan(plan, self.analysis)

    def whole(self) -> Plan:
        """Make the plan that removes nothing more."""
        groups = tuple(
            replace(group, keep=tuple(range(group.width)))
            for group in self.first[Decision].plan.groups
        )
        return replace(self.first[Decision].plan, groups=groups)

    def check(self, plan: Plan) -> None:
        """Check that a plan is for this model.

        Raises:
            MismatchError: if it was made for another architecture.
        """
        check_plan(plan, self.analysis)

    def reached(self, plan: Plan | None) -> tuple[BudgetStatus, ...]:
        """Return the budgets with the costs of a plan, or the dense ones."""
        keep = {} if plan is None else plan.keep
        widths = [len(keep.get(group.id, group.labels)) for group in self.analysis.groups]
        return tuple(
            replace(status, reached=self._costs[status.cost].at(widths)) for status in self.asked
        )

    def cost_per_channel(self, widths: Sequence[int] | None = None) -> list[float]:
        """Return for each group the share of the dense cost that goes with one channel, summed over the budgets.

        It is 0 for groups that limits keep whole.

        Args:
            widths: at which to count, each at least 1; the present ones by default.
        """
        now = self.analysis.widths if widths is None else np.asarray(widths)
        at = {status.cost: self._costs[status.cost].at(now) for status in self.asked}
        shares: list[float] = []
        for number, can_go in enumerate(self._can_go):
            fewer = now.copy()
            fewer[number] -= 1
            saved = sum((at[s.cost] - self._costs[s.cost].at(fewer)) / s.dense for s in self.asked)
            shares.append(max(0.0, saved) if can_go else 0.0)
        return shares

    def excess(self, widths: Sequence[int], share: float) -> float:
        """Return by how much widths exceed the budgets on their way, as a share of the dense cost; the most of all.

        Args:
            widths: one for each group.
            share: of the way from the dense costs to the budgets.
        """
        return max(
            self._costs[status.cost].at(np.asarray(widths)) / status.dense - _target(status, share)
            for status in self.asked
        )

    def _scores(self, values: Tensor) -> Scores:
        parts = values.double().cpu().split(self.analysis.widths.tolist())
        groups = self.analysis.groups
        return additive({g.id: part.numpy() for g, part in zip(groups, parts, strict=True)})

    @cached_property
    def _can_go(self) -> list[bool]:
        """Whether each group may lose channels."""
        state = self.first
        if self._given is not None:
            return [len(group.keep) < group.width for group in state[Decision].plan.groups]
        limits = self.options.allocator(*self._budgets).limits
        widths, _ = limits.widths(self.analysis, state.get(ClassConstraints))
        return [len(candidates) > 1 for candidates in widths]

    def _decided(self, scored: State, share: float) -> State:
        if self._given is not None:
            return replace(self._job, scored=scored).decide(GivenPlan(plan=self._given))
        budgets = tuple(self._on_the_way(budget, share) for budget in self._budgets)
        decider = self.options.allocator(*budgets)
        if not self._found:
            return replace(self._job, scored=scored, options=self.options).decide(decider)
        state = scored.knowing(*self._found)
        passes = deciding_passes(self.options, decider, state)
        return Pipeline(passes, given=tuple(state.facts)).run(state)

    def _on_the_way(self, budget: Budget, share: float) -> Budget:
        found = [status for status in self.asked if status.cost == budget.cost]
        if not found or (share >= 1.0 and found[0].asked == budget.amount):
            return budget
        return Budget(budget.cost, _target(found[0], share) * found[0].dense)


def _target(status: BudgetStatus, share: float) -> float:
    """Which share of the dense cost is the bound on the way to a budget."""
    return 1.0 - (1.0 - min(1.0, status.bound / status.dense)) * share


def _check_live(model: torch.nn.Module, analysis: Analysis) -> None:
    """Refuse a model whose parameters were copied to trace it: what is trained are others then."""
    live = {id(parameter) for parameter in model.parameters()}
    copied = [
        name
        for name, tensor in analysis.tensors.items()
        if isinstance(tensor, torch.nn.Parameter) and id(tensor) not in live
    ]
    if copied:
        raise OptionError(
            f"{copied[0]} of the traced program is a copy of what is trained",
            hint="models that are sharded over processes can't be pruned while they are trained: use "
            "DistributedDataParallel, or compress the model afterwards",
        )
