"""Correct distortion curves by plans whose true distortion is known.

The distortions of single groups don't add up to that of a plan. Of some plans the true one is
known, and for those

    log E = c + log(sum_g exp(t_g) d_g) + noise

is assumed, with ``d_g`` the distortion of group ``g`` at its width in the plan, and ``t_g`` normal
around 0. The maximum a posteriori ``t`` and ``c`` are found by the Gauss-Newton method; curves times
``exp(c + t_g)`` then add up to the known distortions, or nearly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .cost_tables import Array

__all__ = ["Correction", "correct"]

SPREAD = 0.5
"""Prior standard deviation of ``t``, the logarithm of a curve's correction."""

NOISE = 0.03
"""Standard deviation of the logarithm of a known distortion; neighbouring plans differ by as much."""

_STEPS = 100
_LONGEST = 1.0
_SETTLED = 1e-9


@dataclass(frozen=True)
class Correction:
    """Factors that correct the curves, and how well they explain the known distortions.

    Attributes:
        factors: ``[groups]``, positive, one to multiply each curve with.
        misfit: twice the negative log posterior, up to a constant: of several variants of the
            curves, the one with the least misfit explains the known distortions best.
    """

    factors: Array
    misfit: float


def correct(distortions: Array, known: Array) -> Correction:
    """Compute the most probable correction of the curves (maximum a posteriori).

    Args:
        distortions: ``[plans, groups]``, each group's distortion by its curve; not negative, and
            positive for some group of each plan.
        known: ``[plans]``, true distortion of each plan; positive.

    Example:
        >>> plans = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> correct(plans, np.array([0.2, 0.2, 0.4])).factors.round(3)
        array([0.2, 0.2])
    """
    offs, level = np.zeros(distortions.shape[1]), 0.0
    prior = np.diag(np.append(np.full(len(offs), SPREAD**-2), 0.0))
    for _ in range(_STEPS):
        parts = distortions * np.exp(offs)
        error = np.log(known / parts.sum(1)) - level
        slope = np.column_stack([parts / parts.sum(1, keepdims=True), np.ones(len(known))])
        uphill = slope.T @ error / NOISE**2 - prior @ np.append(offs, level)
        step = np.linalg.solve(slope.T @ slope / NOISE**2 + prior, uphill)
        step *= min(1.0, _LONGEST / max(np.abs(step).max(), _SETTLED))
        offs, level = offs + step[:-1], level + float(step[-1])
        if np.abs(step).max() < _SETTLED:
            break
    error = np.log(known / (distortions * np.exp(offs)).sum(1)) - level
    misfit = float(error @ error / NOISE**2 + offs @ offs / SPREAD**2)
    return Correction(np.exp(offs + level), misfit)
