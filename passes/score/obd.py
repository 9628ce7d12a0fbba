"""Criterion by optimal brain surgeon (OBS), the default with calibration data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphprune.analysis.analyse import Analysis
from graphprune.passes.observe import Observations

from .criterion import Scores, required
from .layers_behind import with_layers_behind
from .magnitude import Magnitude
from .measured_curves import measure

__all__ = ["OptimalBrainSurgeon"]


@dataclass(frozen=True)
class OptimalBrainSurgeon:
    """Backward elimination by optimal brain surgeon, over all layers that read a group.

    The curves are the error of the network's output. Which form of them gives the best plan
    differs from network to network, so there are several variants, between local error (in the
    readers' outputs) and measured error; ``Choose`` tries the plans that they lead to.

    Source: see ``graphprune.passes.score.obs`` and ``graphprune.passes.score.measured_curves``.

    Attributes:
        depth: measure the curves down to width 0, where groups may go whole.
    """

    needs_data: ClassVar[bool] = True
    depth: bool = False

    def __call__(self, analysis: Analysis, observations: Observations | None = None) -> Scores:
        """Score all groups; ``values`` are ranks, which order the channels of one group.

        Raises:
            OptionError: if there is no calibration data.
        """
        observations = required(observations, "obs")
        curves = measure(observations, Magnitude()(analysis), depth=self.depth)
        curves = with_layers_behind(observations, curves)
        values = {}
        for name, curve in curves.items():
            values[name] = np.empty(len(curve.order))
            values[name][list(curve.order)] = np.arange(1, len(curve.order) + 1)
        variants = {
            "measured": {name: curve.scaled(1.0) for name, curve in curves.items()},
            "points": {name: curve.interpolated() for name, curve in curves.items()},
            "repaired": {name: curve.repaired() for name, curve in curves.items()},
            "balanced": {name: curve.scaled(0.5) for name, curve in curves.items()},
            "local": {name: curve.scaled(0.0) for name, curve in curves.items()},
        }
        return Scores(values, curves=variants["measured"], variants=variants)
