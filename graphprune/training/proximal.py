"""Exact proximal steps for the group norms, after each step of the optimiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .envelope import envelope_factors
from .method import Moment, fade
from .replanned import Replanned

__all__ = ["Proximal"]


@dataclass(frozen=True)
class Proximal(Replanned):
    """Shrink the norm of every channel by an amount, after each step; what is smaller becomes exactly zero.

    This is the proximal step of ``t * sum of weight[c] * |w_c|``: ``w_c`` times ``max(0, 1 - t * weight[c] / |w_c|)``
    (block soft thresholding: Parikh & Boyd 2014, *Proximal algorithms*, section 6.5.1). It is
    exact as the blocks are disjoint: each parameter belongs to the channels of its first axis that has some.
    The weights are the cost of a channel, relative to the mean over all, times ``others`` for channels that stay by
    the plan of the moment. The amounts are such that ``strength`` is the part of its group's mean norm that a channel
    of mean cost loses in all, if it goes by all plans. They don't depend on the learning rate.

    With ``envelope`` the step is that of the envelope of group sparsity instead (Refael et al. 2022, WGSEF,
    arXiv:2212.12921; ``envelope.py``): the channels that the budget has room for, by their norms and their costs, decay by
    ``1 / (1 + t)`` alone, where the steps' ``t`` add up to ``strength``; all others lose more, until they are zero. The room is
    the cost of what stays by the plan of the moment; ``others`` has no part in it.

    Plans are made as by ``group-lasso``, and what goes fades in the same way.

    Attributes:
        strength: what a channel of mean cost loses in all, in mean norms of its group.
        fixed: share of the steps after which the plan stays and nothing is shrunk, (0, 1].
        faded: share of the steps after which the channels that go are zero, (0, 1].
        updates: how often the plan is made anew until then.
        others: what is taken from channels that stay, relative to those that go.
        envelope: make the step of the envelope; a ``strength`` of 0.2 suits it.
    """

    name: ClassVar[str] = "proximal"
    strength: float = 2.0
    envelope: bool = False

    def after_step(self, now: Moment) -> None:
        """Make the proximal step while the plan is open, then let the channels that go fade."""
        if now.progress > self.fixed:
            fade(now, self.fixed, self.faded)
            return
        some = now.cost > 0
        if self.envelope:
            now.channels.scale(self._enveloped(now, some), disjoint=True)
            return
        mean = now.cost.sum() / some.sum().clamp(min=1)
        weights = now.cost / mean * torch.where(now.going, 1.0, self.others)
        amount = self.strength / (self.fixed * now.steps) * now.scale * weights
        norms = now.channels.norms(disjoint=True).detach()
        factors = torch.where(norms > 0, (1.0 - amount / norms).clamp(min=0.0), 1.0)
        now.channels.scale(torch.where(some, factors, 1.0), disjoint=True)

    def _enveloped(self, now: Moment, some: Tensor) -> Tensor:
        """Compute the factors of the envelope's step, of norms relative to their groups'."""
        amount = self.strength / (self.fixed * now.steps)
        factors = torch.ones_like(now.cost)
        if amount and bool(now.going.any()):
            norms = (now.channels.norms(disjoint=True).detach() / now.scale)[some]
            room = float(now.cost[some & ~now.going].sum())
            factors[some] = envelope_factors(norms, now.cost[some], room, amount).to(factors)
        return factors
