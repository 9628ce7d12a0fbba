"""The exact proximal step of the envelope of group sparsity under a budget of costs."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["envelope_factors"]

_HALVINGS = 60
"""Of the interval for the multiplier: to the precision of float64."""

_ROUNDING = 1e-12
"""Share of the budget that stays unused, so that rounding gives nothing to channels that just don't belong."""


def envelope_factors(norms: Tensor, cost: Tensor, budget: float, amount: float) -> Tensor:
    """Compute by which factors a proximal step of the envelope multiplies the channels.

    The envelope is the largest convex function below ``|x|^2 / 2`` where the channels that aren't zero cost at most
    the budget, and infinity elsewhere (Beck & Refael 2022, arXiv:2005.02141, section 3; with weights: Refael et al.
    2022, WGSEF, arXiv:2212.12921). It is the minimum of ``sum of |x_c|^2 / (2 u_c)`` over shares ``u`` of channels,
    0 to 1, with ``sum of cost_c u_c`` at most the budget. The step therefore multiplies by ``u / (u + amount)`` at the
    ``u`` that minimise ``sum of |v_c|^2 / (u_c + amount)``: ``u_c = |v_c| / sqrt(m cost_c) - amount``, cut to 0 to 1, where
    the multiplier ``m`` makes the sum meet the budget. Channels that don't belong get exactly 0, and those that do
    shrink as by weight decay.

    Args:
        norms: ``[channels]``, not negative.
        cost: ``[channels]``, above 0.
        budget: what the shares may cost.
        amount: of the step, above 0.

    Returns:
        Factors ``[channels]``, 0 to 1.
    """
    ratio = norms / cost.sqrt()

    def shares(scale: float) -> Tensor:
        return (ratio * scale - amount).clamp(0.0, 1.0)

    positive = ratio[ratio > 0]
    if not len(positive):
        return torch.zeros_like(norms)
    # Bisect 1 / sqrt(m): at 0 all shares are 0, at the other end they are all 1.
    low, high = 0.0, float((1.0 + amount) / positive.min())
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if float((cost * shares(middle)).sum()) > budget * (1.0 - _ROUNDING):
            high = middle
        else:
            low = middle
    found = shares(low)
    return found / (found + amount)
