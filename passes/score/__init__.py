"""Criteria: how much does each channel of each group matter?

``criterion`` holds the interface and ``Scores``; each criterion has a file of its own, and ``score`` is
the pass that runs one. A criterion that needs calibration data reads it from the observations.
"""

from __future__ import annotations

from .activations import ActivationVariance, FeatureRank
from .batchnorm import BatchNormScale
from .criterion import Criterion, Scores, additive
from .fisher import GroupFisher
from .gradients import Probes
from .lamp import LayerAdaptive
from .magnitude import Magnitude
from .obd import OptimalBrainSurgeon
from .random import Random
from .readers import count_readers
from .redundancy import GeometricMedian, Spline
from .sensitivity import Connection, OptimalBrainDamage, Taylor
from .synflow import SynapticFlow

__all__ = [
    "CRITERIA",
    "ActivationVariance",
    "BatchNormScale",
    "Connection",
    "Criterion",
    "FeatureRank",
    "GeometricMedian",
    "GroupFisher",
    "LayerAdaptive",
    "Magnitude",
    "OptimalBrainDamage",
    "OptimalBrainSurgeon",
    "Probes",
    "Random",
    "Scores",
    "Spline",
    "SynapticFlow",
    "Taylor",
    "additive",
    "count_readers",
]

CRITERIA: dict[str, Criterion] = {
    "l1": Magnitude(p=1),
    "l2": Magnitude(p=2),
    "bn-scale": BatchNormScale(),
    "lamp": LayerAdaptive(),
    "fpgm": GeometricMedian(),
    "spline": Spline(),
    "synflow": SynapticFlow(),
    "random": Random(),
    "obs": OptimalBrainSurgeon(),
    "variance": ActivationVariance(),
    "hrank": FeatureRank(),
    "taylor": Taylor(),
    "obd": OptimalBrainDamage(),
    "fisher": GroupFisher(),
    "snip": Connection(),
}
"""Criteria by their name on the command line; the first eight need no calibration data."""
