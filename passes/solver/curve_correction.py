"""Curves corrected by plans whose true distortion is known.

The distortions of single groups don't add up to that of a plan. Of some plans the true one is
known, and for those

    log E = c + log(sum_g exp(t_g) d_g) + noise

is assumed, with ``d_g`` the distortion of group ``g`` at its width in the plan, and ``t_g`` normal
around 0. The most probable ``t`` and ``c`` are found by Gauss and Newton's method; curves times
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
"""Standard deviation of ``t``: how far a curve may be off."""

NOISE = 0.03
"""Standard deviation of the logarithm of a known distortion. Neighbouring plans differ by as much."""

_STEPS = 100
_LONGEST = 1.0
_SETTLED = 1e-9


@dataclass(frozen=True)
class Correction:
    """What curves have to be multiplied with.

    Attributes:
        factors: ``[groups]``, positive.
        misfit: twice the negative logarithm of its probability, but for a constant: of several forms
            of the curves, the one with the least explains the known distortions best.
    """

    factors: Array
    misfit: float


def correct(distortions: Array, known: Array) -> Correction:
    """The most probable factors.

    Args:
        distortions: ``[plans, groups]``, not negative; of each plan some are positive.
        known: ``[plans]``, positive.

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
