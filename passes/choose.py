"""The pass that makes several plans, repairs each, and keeps the one with the least output error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from graphprune.analysis.analyse import Analysis
from graphprune.cut.cut import Cut
from graphprune.errors import InfeasibleBudgetError
from graphprune.passes.allocate.allocate import Allocate
from graphprune.passes.allocate.branches import distortions
from graphprune.passes.decision import Decision
from graphprune.pipeline import AnalysisPass, Pipeline, State
from graphprune.plan.plan import Plan

from .observe import Observations
from .recover import QUICK, THOROUGH, Repaired, repair
from .score import Scores
from .solver import DynamicProgramming, GlobalThreshold, correct

__all__ = ["Choose"]

ROUNDS = 4
"""Most corrections of the curves by what the plans before turned out to cost."""

LEAST_SHARE, LEAST_GAIN = 0.005, 3e-4
"""A plan is repaired only if it promises to lower the error by at least this share of the lowest so far (0.5 %),
and by at least this much (0.03 % of the variance of the outputs)."""

HOPELESS = 2.0
"""A plan isn't repaired if the curves that led to the best one expect this many times as much of it."""

PATIENCE = 2
"""Corrected plans in a row that are no better than the best one, after which there are no more."""

SAMPLES = 128
"""Samples that a plan is repaired on to be compared with others; only the best is repaired on all of them."""

Curves = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Choose(AnalysisPass):
    """Make a plan from every variant of the distortion curves, repair each, and keep the best.

    The distortions of single groups don't quite add up. The error of the repaired network's
    output on held-out data counts them together, and it needs no labels. Plans are compared after a
    repair on few samples; the best is repaired on all that are fitted. Plans that the best curves so far
    call far worse aren't repaired.

    With ``dp`` more plans follow. The measured errors correct the curves, and the best plan by the
    corrected curves is repaired as well, until none promises to be better, or two in a row weren't. So that the plans to
    learn from differ, one more is made by a threshold on the last variant, which ignores costs.

    Where whole branches may go, plans that keep them all are tried beside those without some, by every
    variant. So the one that is kept is no worse for the choice, as far as the held-out data tell.

    Given: scores with variants, and measurements. Result: a decision with its repaired weights.
    Without variants there is one plan, which is repaired and taken.

    Attributes:
        allocate: the pass that makes the plans, with its budget and limits.
    """

    name: ClassVar[str] = "choose"
    needs = (Analysis, Scores, Observations)
    gives = (Decision, Repaired)
    allocate: Allocate

    def run(self, state: State) -> tuple[Decision, Repaired]:
        """Allocate by each variant, repair each plan, and compare the errors.

        Raises:
            InfeasibleBudgetError: if the limits don't allow the budget.
        """
        scores = state[Scores]
        tried = _TriedPlans(state)
        for name, curves in (scores.variants or {"": scores.curves}).items():
            decision = tried.plan(self.allocate, curves)
            tried.add(name, decision, curves)
            if decision.plan.removed:
                self._with_all_branches(tried, name, curves)
        if scores.variants and self.allocate.method == DynamicProgramming.name:
            self._threshold(tried, scores)
            self._corrected(tried, scores)
        return tried.best()

    def _with_all_branches(self, tried: _TriedPlans, name: str, curves: Curves) -> None:
        try:
            decision = tried.plan(self.allocate.without_depth, curves)
        except InfeasibleBudgetError:  # only networks without some branches are small enough
            return
        tried.add(f"{name} widths".lstrip(), decision, curves)

    def _threshold(self, tried: _TriedPlans, scores: Scores) -> None:
        *_, (name, curves) = scores.variants.items()
        try:
            decision = tried.plan(replace(self.allocate, method=GlobalThreshold.name), curves)
        except InfeasibleBudgetError:  # of budgets that only just go together it may find no plan
            return
        tried.add(f"{name} threshold", decision, curves)

    def _corrected(self, tried: _TriedPlans, scores: Scores) -> None:
        failed = 0
        for number in range(1, ROUNDS + 1):
            curves = tried.corrected(scores.variants)
            if curves is None:
                return
            decision = tried.plan(self.allocate, curves)
            lowest = tried.lowest_error()
            hopeless = decision.allocation.distortion > lowest - max(
                LEAST_SHARE * lowest, LEAST_GAIN
            )
            if hopeless or not tried.add(f"corrected ({number})", decision, curves):
                return
            failed = failed + 1 if tried.lowest_error() == lowest else 0
            if failed == PATIENCE:
                return


class _TriedPlans:
    """Plans tried so far, the errors of their repaired networks, and the best of them."""

    def __init__(self, state: State) -> None:
        self._state, self._observations = state, state[Observations]
        self._fitted = self._observations.some_fitted(SAMPLES)
        self._search = QUICK if state[Scores].variants else THOROUGH
        self._plans: list[Plan] = []
        self._errors: dict[str, float] = {}
        self._best: tuple[Decision, Repaired] | None = None
        self._lead: Curves = {}

    def plan(self, allocate: Allocate, curves: Curves) -> Decision:
        """Make a plan from distortion curves."""
        known = self._state.silent().knowing(replace(self._state[Scores], curves=curves))
        return Pipeline((allocate,), given=tuple(known.facts)).run(known)[Decision]

    def add(self, name: str, decision: Decision, curves: Curves) -> bool:
        """Repair the plan of some curves and note its error; return False if it was tried before, or is hopeless."""
        if decision.plan in self._plans or self._is_hopeless(decision.plan):
            return False
        cut = Cut.keeping(self._observations.analysis, decision.plan.keep)
        stage = f"choose {name}".rstrip()
        repaired = repair(
            self._observations,
            cut,
            near=self._best[1] if self._best else None,
            fitted=self._fitted,
            search=self._search,
            stage=stage,
        )
        if self._best is None or repaired.error < self.lowest_error():
            self._best, self._lead = (decision, repaired), curves
        self._plans.append(decision.plan)
        self._errors[name] = repaired.error
        return True

    def _is_hopeless(self, plan: Plan) -> bool:
        """Whether the curves that led to the best plan so far expect far more distortion of this one."""
        if self._best is None:
            return False
        expected, least = (
            sum(distortions(self._observations.analysis, self._lead, each))
            for each in (plan, self._best[0].plan)
        )
        return expected > HOPELESS * least

    def lowest_error(self) -> float:
        """Return the lowest error of a repaired network so far."""
        return min(self._errors.values())

    def best(self) -> tuple[Decision, Repaired]:
        """Return the plan with the lowest error, its repaired weights, and a note on all plans."""
        assert self._best is not None, "nothing was tried"
        decision, repaired = self._best
        name = min(self._errors, key=self._errors.__getitem__)
        if self._fitted is not None or self._search is not THOROUGH:
            cut = Cut.keeping(self._observations.analysis, decision.plan.keep)
            again = repair(self._observations, cut, near=repaired, stage="choose best")
            repaired = min(repaired, again, key=lambda each: each.error)
        listed = ", ".join(f"{each} {error:.4f}" for each, error in self._errors.items())
        note = f"curves: {name}, by the repaired network's output error ({listed})"
        return replace(decision, origin=note if name else ""), repaired

    def corrected(self, variants: Mapping[str, Curves]) -> Curves | None:
        """Return the variant that explains the errors best, corrected by them; ``None`` if none can be."""
        groups = [g.id for g in self._plans[0].groups]
        errors = np.array(list(self._errors.values()))
        found: list[tuple[float, Curves]] = []
        for curves in variants.values():
            parts = np.array([
                distortions(self._observations.analysis, curves, plan) for plan in self._plans
            ])
            told = (parts.sum(1) > 0) & (errors > 0) & np.isfinite(errors)
            if told.any():
                correction = correct(parts[told], errors[told])
                factors = zip(groups, correction.factors.tolist(), strict=True)
                found.append((correction.misfit, {name: f * curves[name] for name, f in factors}))
        return min(found, key=lambda each: each[0])[1] if found else None
