"""The analyses as passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from graphprune.analysis.analyse import Analysis, analyse
from graphprune.analysis.frozen import unknown_operators
from graphprune.data.calibration import Calibration
from graphprune.errors import PlanError, UnsupportedOpError
from graphprune.ir.nodes import source_line
from graphprune.pipeline import AnalysisPass, State

from .observe import Observations
from .score import CRITERIA, Criterion, Scores, count_readers

__all__ = ["Analyse", "Observe", "Score"]


@dataclass(frozen=True)
class Analyse(AnalysisPass):
    """Find the groups, their costs, and what is frozen.

    Attributes:
        strict_ops: refuse operators without a rule instead of freezing what they touch.
        allow_inexact: cut through statistics too, such as LayerNorm's.
    """

    name: ClassVar[str] = "analyse"
    gives = (Analysis,)
    strict_ops: bool = False
    allow_inexact: bool = False

    def run(self, state: State) -> Analysis:
        """Analyse.

        Raises:
            UnsupportedOpError: under ``strict_ops``, naming all operators without a rule.
        """
        found = analyse(state.program, allow_inexact=self.allow_inexact)
        unknown = unknown_operators(found)
        if unknown and self.strict_ops:
            calls = sorted({f"{n.target} ({source_line(n) or n.name})" for n in unknown})
            raise UnsupportedOpError(
                f"no rule for {', '.join(calls)}",
                hint="add a rule (docs/adding-an-op.md), or go without --strict-ops",
            )
        return found


@dataclass(frozen=True)
class Observe(AnalysisPass):
    """Measure the dense network on calibration data.

    Attributes:
        data: the inputs.
        seed: of the sample of positions.
        progress: told how far it is, and so are the passes that use the measurements.
    """

    name: ClassVar[str] = "observe"
    needs = (Analysis,)
    gives = (Observations,)
    data: Calibration = field(repr=False)
    seed: int = 0
    progress: Callable[[str], Any] | None = field(default=None, repr=False)

    def run(self, state: State) -> Observations:
        """One pass over the data.

        Raises:
            PlanError: if no output of the model can be compared between networks.
        """
        seen = Observations(state[Analysis], self.data, self.seed, self.progress)
        _ = seen.compared, seen.record
        return seen


@dataclass(frozen=True)
class Score(AnalysisPass):
    """Score the channels of every group.

    Attributes:
        criterion: see ``graphprune.passes.score``.

    Where ``Observe`` ran before, the criterion may use its measurements.
    """

    name: ClassVar[str] = "score"
    needs = (Analysis,)
    gives = (Scores,)
    criterion: Criterion = field(default=CRITERIA["l2"])

    def run(self, state: State) -> Scores:
        """Score.

        Raises:
            PlanError: if the criterion needs calibration data and there is none.
        """
        seen = state.get(Observations)
        if self.criterion.needs_data and seen is None:
            raise PlanError(
                f"{self.criterion} needs calibration data",
                hint="--data FOLDER, or compress(..., calibration=inputs)",
            )
        scores = self.criterion(state[Analysis], seen)
        if scores.readers:
            return scores
        return replace(scores, readers=count_readers(state[Analysis]))
