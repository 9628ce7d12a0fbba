"""Criterion by layer-adaptive magnitude (LAMP)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from graphprune.analysis.analyse import Analysis
from graphprune.passes.observe import Observations

from .criterion import Scores, additive
from .magnitude import Magnitude

__all__ = ["LayerAdaptive"]


@dataclass(frozen=True)
class LayerAdaptive:
    """Squared magnitude, divided by the sum of all in the group that are not smaller.

    Source: Lee et al. 2021 (LAMP, arXiv:2010.07611, section 2.1), with channels of a group in
    the place of weights of a layer. Made to be compared between groups: the largest channel of
    each scores 1, and a score tells what share of the survivors' energy would go next. Channels
    that are equal score equally.
    """

    needs_data: ClassVar[bool] = False

    def __call__(self, analysis: Analysis, observations: Observations | None = None) -> Scores:
        """Score the channels of all groups."""
        energy = Magnitude(p=2)(analysis).values
        return additive({name: _score(values) for name, values in energy.items()})


def _score(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    ascending = np.sort(energy)
    tail = np.cumsum(ascending[::-1])[::-1]
    at_least = tail[np.searchsorted(ascending, energy, side="left")]
    return np.divide(energy, at_least, out=np.zeros_like(energy), where=at_least > 0)
