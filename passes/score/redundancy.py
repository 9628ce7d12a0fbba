"""Criteria by redundancy: how well could other channels of the group replace one?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.groups import Group
from graphprune.passes.observe import Observations

from .criterion import Scores
from .producers import FilterFinder, Filters, gram

__all__ = ["GeometricMedian", "Spline"]

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class GeometricMedian:
    """Sum of the distances to all other filters; those near the geometric median are removed first.

    Source: He et al. 2019 (FPGM, arXiv:1811.00250, equations 4 to 6). A channel's filter is all
    that makes it: the weights of every layer that produces it, with BatchNorm folded in. Scores
    compare within a group only.
    """

    needs_data: ClassVar[bool] = False

    def __call__(self, analysis: Analysis, observations: Observations | None = None) -> Scores:
        """Score the channels of all groups."""
        finder = FilterFinder(analysis)
        return Scores({g.id: self._score(finder, g) for g in analysis.groups})

    def _score(self, finder: FilterFinder, group: Group) -> NDArray[np.float64]:
        inner = sum(
            (gram(layer.weights) for layer in finder.comparable(group)),
            start=np.zeros((group.width, group.width)),
        )
        norms = np.diag(inner)
        squares = np.maximum(norms[:, None] + norms - 2 * inner, 0)
        return np.sqrt(squares).sum(1)


@dataclass(frozen=True)
class Spline:
    """Distance of a unit's hyperplane ``w . x + b = 0`` from the nearest other one that is kept.

    A network of piecewise affine layers is a spline whose pieces these hyperplanes bound; two
    units with the same one bound nothing new. Their distance is
    ``1 - |cos(w_i, w_j)| + |b_i / |w_i| - s b_j / |w_j||`` with the sign ``s`` of the cosine,
    summed over the layers that produce the channel. Units go one at a time: of the two that are
    nearest, the one with the smaller norm goes, and its score is that distance. Distances among
    those that stay only grow, so the order of the scores is the order of removal; the last one
    scores 1 more. If units are scaled by positive numbers, only who of a pair goes may change.

    Source: You et al. 2021 (*Max-affine spline insights into deep network pruning*,
    arXiv:2101.02338, section 4). Scores compare within a group only.
    """

    needs_data: ClassVar[bool] = False

    def __call__(self, analysis: Analysis, observations: Observations | None = None) -> Scores:
        """Score the channels of all groups; constant units score 0."""
        finder = FilterFinder(analysis)
        return Scores({g.id: self._score(finder.comparable(g), g.width) for g in analysis.groups})

    def _score(self, filters: list[Filters], width: int) -> NDArray[np.float64]:
        distances, energy = np.zeros((width, width)), np.zeros(width)
        for layer in filters:
            inner = gram(layer.weights)
            energy += np.diag(inner)
            distances += _between(inner, layer.biases.cpu().numpy())
        return _one_by_one(distances, energy)


def _between(inner: Matrix, biases: Matrix) -> Matrix:
    """Return the distances ``[width, width]`` of one layer's hyperplanes, from inner products."""
    norms = np.sqrt(np.diag(inner))
    safe = np.where(norms > 0, norms, 1.0)
    cosines = np.clip(inner / safe[:, None] / safe, -1, 1)
    signs = np.where(cosines < 0, -1.0, 1.0)
    offsets = biases / safe[:, None]
    gaps = [np.abs(column[:, None] - signs * column) for column in offsets.T]
    return 1 - np.abs(cosines) + np.sum(gaps, axis=0)


def _one_by_one(distances: Matrix, energy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Remove the weaker of the nearest pair until one is left; the distance is its score."""
    left = distances.copy()
    np.fill_diagonal(left, np.inf)
    gone = energy <= 0
    left[gone], left[:, gone] = np.inf, np.inf
    scores = np.zeros(len(energy))
    nearest, gaps = left.argmin(1), left.min(1)
    while np.isfinite(gaps).any():
        one = int(gaps.argmin())
        weaker = min((one, int(nearest[one])), key=lambda i: (energy[i], -i))
        scores[weaker], gone[weaker] = gaps[one], True
        left[weaker], left[:, weaker], gaps[weaker] = np.inf, np.inf, np.inf
        stale = np.flatnonzero((nearest == weaker) & ~gone)
        nearest[stale], gaps[stale] = left[stale].argmin(1), left[stale].min(1)
    scores[~gone] = scores.max(initial=0) + 1
    return scores
