"""Choose: several plans, each repaired, and the one whose output is nearest."""

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
from graphprune.passes.decision import Decision
from graphprune.pipeline import AnalysisPass, Pipeline, State
from graphprune.plan.plan import Plan

from .observe import Observations
from .recover import Repaired, repair
from .score import Scores
from .solver import DynamicProgramming, GlobalThreshold, correct

__all__ = ["Choose"]

ROUNDS = 4
"""How often the curves are corrected, at most."""

GAIN, SEEN = 0.005, 3e-4
"""A plan isn't repaired that promises to lower the error by a smaller share than the first, or by less than the
second: by 0.03 % of the variance of the outputs."""

Curves = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Choose(AnalysisPass):
    """Allocate by every variant of the curves, repair each plan, keep the best.

    The distortions of single groups don't quite add up. The error of the repaired network's
    output on data kept aside does count them together, and it needs no labels.

    With ``dp`` that is the beginning. What the plans turned out to cost corrects the curves, and
    the best plan by those is repaired as well, until none promises to be better. So that the plans
    to learn from differ, one more is a threshold on the last variant, which looks at no costs.

    Given: scores with variants, and measurements. Result: a decision with its repaired weights.

    Attributes:
        allocate: makes the plans.
    """

    name: ClassVar[str] = "choose"
    needs = (Analysis, Scores, Observations)
    gives = (Decision, Repaired)
    allocate: Allocate

    def run(self, state: State) -> tuple[Decision, Repaired]:
        """Allocate, repair and compare.

        Raises:
            InfeasibleBudgetError: if the limits don't allow the budget.
        """
        scores = state[Scores]
        tried = _Tried(state)
        for name, curves in (scores.variants or {"": scores.curves}).items():
            tried.add(name, tried.plan(self.allocate, curves))
        if scores.variants and self.allocate.method == DynamicProgramming.name:
            self._threshold(tried, scores)
            self._corrected(tried, scores)
        return tried.best()

    def _threshold(self, tried: _Tried, scores: Scores) -> None:
        *_, (name, curves) = scores.variants.items()
        try:
            found = tried.plan(replace(self.allocate, method=GlobalThreshold.name), curves)
        except InfeasibleBudgetError:  # of budgets that only just go together it may find no plan
            return
        tried.add(f"{name} threshold", found)

    def _corrected(self, tried: _Tried, scores: Scores) -> None:
        for number in range(1, ROUNDS + 1):
            curves = tried.corrected(scores.variants)
            if curves is None:
                return
            found = tried.plan(self.allocate, curves)
            hopeless = found.allocation.distortion > tried.least() - max(GAIN * tried.least(), SEEN)
            if hopeless or not tried.add(f"corrected ({number})", found):
                return


class _Tried:
    """The plans so far with the errors of their repaired networks, and the best of these."""

    def __init__(self, state: State) -> None:
        self._state, self._seen = state, state[Observations]
        self._plans: list[Plan] = []
        self._errors: dict[str, float] = {}
        self._best: tuple[Decision, Repaired] | None = None

    def plan(self, allocate: Allocate, curves: Curves) -> Decision:
        """A plan by some curves."""
        quiet = replace(self._state, progress=None)  # it is a part of this stage
        known = quiet.knowing(replace(self._state[Scores], curves=curves))
        return Pipeline((allocate,), given=tuple(known.facts)).run(known)[Decision]

    def add(self, name: str, found: Decision) -> bool:
        """Repair a plan, unless it was tried before."""
        if found.plan in self._plans:
            return False
        cut = Cut.of(self._seen.analysis, found.plan.keep)
        repaired = repair(self._seen, cut, stage=f"choose {name}".rstrip())
        if self._best is None or repaired.error < self.least():
            self._best = found, repaired
        self._plans.append(found.plan)
        self._errors[name] = repaired.error
        return True

    def least(self) -> float:
        """The lowest error."""
        return min(self._errors.values())

    def best(self) -> tuple[Decision, Repaired]:
        """The plan with the lowest error and its weights, and a note on all of them."""
        assert self._best is not None, "nothing was tried"
        decision, repaired = self._best
        name = min(self._errors, key=self._errors.__getitem__)
        listed = ", ".join(f"{each} {error:.4f}" for each, error in self._errors.items())
        note = f"curves: {name}, by the repaired network's output error ({listed})"
        return replace(decision, notes=(*decision.notes, *([note] if name else []))), repaired

    def corrected(self, variants: Mapping[str, Curves]) -> Curves | None:
        """The variant that explains the errors best, corrected by them; ``None`` if none can be."""
        groups = [g.id for g in self._plans[0].groups]
        errors = np.array(list(self._errors.values()))
        found: list[tuple[float, Curves]] = []
        for curves in variants.values():
            parts = np.array([
                [curves[g.id][len(g.keep)] for g in plan.groups] for plan in self._plans
            ])
            told = (parts.sum(1) > 0) & (errors > 0) & np.isfinite(errors)
            if told.any():
                correction = correct(parts[told], errors[told])
                factors = zip(groups, correction.factors.tolist(), strict=True)
                found.append((correction.misfit, {name: f * curves[name] for name, f in factors}))
        return min(found, key=lambda each: each[0])[1] if found else None
