"""Criteria: how much each channel of each group matters."""

from __future__ import annotations

from .base import Criterion, Scores, count_readers
from .batchnorm import BatchNormScale
from .magnitude import Magnitude
from .random import Random
from .surgeon import OptimalBrainSurgeon

__all__ = ["CRITERIA", "BatchNormScale", "Criterion", "Magnitude", "OptimalBrainSurgeon", "Random", "Scores", "count_readers"]

CRITERIA: dict[str, Criterion] = {
    "l1": Magnitude(p=1),
    "l2": Magnitude(p=2),
    "bn-scale": BatchNormScale(),
    "obs": OptimalBrainSurgeon(),
    "random": Random(),
}
"""Criteria by the name they have on the command line."""
