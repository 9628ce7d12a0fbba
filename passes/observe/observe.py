"""The pass that measures the dense network on calibration data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphprune.analysis.analyse import Analysis
from graphprune.data.calibration import Calibration
from graphprune.pipeline import AnalysisPass, State

from .observations import Observations

__all__ = ["Observe"]


@dataclass(frozen=True)
class Observe(AnalysisPass):
    """Measure the dense network on calibration data.

    Given: an analysis and calibration data. Result: ``Observations``. The program isn't changed.

    Attributes:
        seed: seed of the sample of positions.
        scoring: whether the inputs' moments are measured too, by which criteria score channels; refits need none.
    """

    name: ClassVar[str] = "observe"
    needs = (Analysis, Calibration)
    gives = (Observations,)
    seed: int = 0
    scoring: bool = True

    def run(self, state: State) -> Observations:
        """Run the dense network once over the data.

        Raises:
            OptionError: if no output of the model can be compared between networks.
        """
        observations = Observations(
            state[Analysis],
            state[Calibration],
            self.seed,
            scoring=self.scoring,
            progress=state.progress,
        )
        _ = observations.compared, observations.record, observations.hint
        return observations
