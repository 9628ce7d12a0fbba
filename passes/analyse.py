"""The analyses as passes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from graphprune.analysis import Analysis, analyse
from graphprune.calibration import Calibration
from graphprune.errors import PlanError, UnsupportedOpError
from graphprune.explain import unknown_operators
from graphprune.graph import source_line
from graphprune.pipeline import AnalysisPass, State

from .score import CRITERIA, Criterion, Scores, count_readers

__all__ = ["Analyse", "Score"]


@dataclass(frozen=True)
class Analyse(AnalysisPass):
    """Find the groups, their costs, and what is frozen.

    Attributes:
        strict_ops: refuse operators without a rule instead of freezing what they touch.
    """

    name: ClassVar[str] = "analyse"
    gives = (Analysis,)
    strict_ops: bool = False

    def run(self, state: State) -> Analysis:
        """Analyse.

        Raises:
            UnsupportedOpError: under ``strict_ops``, naming all operators without a rule.
        """
        found = analyse(state.program)
        unknown = unknown_operators(found)
        if unknown and self.strict_ops:
            calls = sorted({f"{n.target} ({source_line(n) or n.name})" for n in unknown})
            raise UnsupportedOpError(
                f"no rule for {', '.join(calls)}",
                hint="add a rule (docs/adding-an-op.md), or go without --strict-ops",
            )
        return found


@dataclass(frozen=True)
class Score(AnalysisPass):
    """Score the channels of every group.

    Attributes:
        criterion: see ``graphprune.passes.score``.
        data: calibration inputs, for criteria that look at them.
    """

    name: ClassVar[str] = "score"
    needs = (Analysis,)
    gives = (Scores,)
    criterion: Criterion = field(default=CRITERIA["l2"])
    data: Calibration | None = field(default=None, repr=False)

    def run(self, state: State) -> Scores:
        """Score.

        Raises:
            PlanError: if the criterion needs calibration data and there is none.
        """
        if self.criterion.needs_data and self.data is None:
            raise PlanError(f"{self.criterion} needs calibration data",
                            hint="--data FOLDER, or compress(..., calibration=inputs)")
        scores = self.criterion(state[Analysis], self.data)
        if scores.readers:
            return scores
        return replace(scores, readers=count_readers(state[Analysis]))
