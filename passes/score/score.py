"""The pass that scores how much each channel of each group matters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from graphprune.analysis.analyse import Analysis
from graphprune.passes.observe import Observations
from graphprune.pipeline import AnalysisPass, State

from .criterion import Criterion, Scores, checked, required
from .magnitude import Magnitude
from .readers import count_readers

__all__ = ["Score"]

_L2 = Magnitude(p=2)


@dataclass(frozen=True)
class Score(AnalysisPass):
    """Score the channels of every group by a criterion.

    Given: an analysis; where ``Observe`` ran before, its measurements are used too. Result:
    ``Scores``. The program isn't changed.

    Attributes:
        criterion: one of ``graphprune.passes.score.CRITERIA``, or your own ``Criterion``.
    """

    name: ClassVar[str] = "score"
    needs = (Analysis,)
    gives = (Scores,)
    criterion: Criterion = _L2

    def run(self, state: State) -> Scores:
        """Score all groups of the analysis in the state.

        Raises:
            OptionError: if the criterion needs calibration data and there is none, or gives anything but a score for
                each channel.
        """
        observations = state.get(Observations)
        if self.criterion.needs_data:
            required(observations, self.criterion)
        scores = self.criterion(state[Analysis], observations)
        scores = checked(scores, state[Analysis], self.criterion)
        if scores.readers:
            return scores
        return replace(scores, readers=count_readers(state[Analysis]))
