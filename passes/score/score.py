"""The pass that scores how much each channel of each group matters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from graphprune.analysis.analyse import Analysis
from graphprune.errors import OptionError
from graphprune.passes.observe import Observations
from graphprune.pipeline import AnalysisPass, State

from .criterion import Criterion, Scores, count_readers
from .magnitude import Magnitude

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
            OptionError: if the criterion needs calibration data and there is none.
        """
        observations = state.get(Observations)
        if self.criterion.needs_data and observations is None:
            raise OptionError(
                f"{self.criterion} needs calibration data",
                hint="give inputs of the model; a few hundred unlabelled ones suffice",
                options=("calibration",),
            )
        scores = self.criterion(state[Analysis], observations)
        if scores.readers:
            return scores
        return replace(scores, readers=count_readers(state[Analysis]))
