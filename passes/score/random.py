"""Criterion with random scores, the control that every other one must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphprune.analysis.analyse import Analysis
from graphprune.passes.observe import Observations

from .criterion import Scores

__all__ = ["Random"]


@dataclass(frozen=True)
class Random:
    """Uniform scores, the same for the same seed and architecture."""

    needs_data: ClassVar[bool] = False
    seed: int = 0

    def __call__(self, analysis: Analysis, observations: Observations | None = None) -> Scores:
        """Score the channels of all groups."""
        generator = np.random.default_rng(self.seed)
        return Scores({g.id: generator.random(g.width) for g in analysis.groups})
