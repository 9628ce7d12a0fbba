"""Criteria: how much each channel of each group matters."""

from __future__ import annotations

from .activations import ActivationVariance, FeatureRank
from .batchnorm import BatchNormScale
from .criterion import Criterion, Scores, additive, count_readers
from .fisher import GroupFisher
from .gradients import Probes
from .lamp import LayerAdaptive
from .magnitude import Magnitude
from .obd import OptimalBrainSurgeon
from .random import Random
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
"""Criteria by the name they have on the command line: first those that need no data."""
