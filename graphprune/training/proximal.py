"""Exact proximal steps for the group norms, after each step of the optimiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from .method import Moment, fade
from .replanned import Replanned

__all__ = ["Proximal"]


@dataclass(frozen=True)
class Proximal(Replanned):
    """Shrink the norm of every channel by an amount, after each step; what is smaller becomes exactly zero.

    This is the proximal step of ``t * sum of weight[c] * |w_c|``: ``w_c`` times ``max(0, 1 - t * weight[c] / |w_c|)``
    (block soft thresholding: Parikh & Boyd 2014, *Proximal algorithms*, section 6.5.1; proximal training
    with weights by cost as in Refael et al. 2022, WGSEF, arXiv:2212.12921, whose envelope isn't used). The formula is
    exact as the blocks are disjoint: each parameter belongs to the channels of its first axis that has some.
    The weights are the cost of a channel, relative to the mean over all, times ``others`` for channels that stay by
    the plan of the moment. The amounts are such that ``strength`` is the part of its group's mean norm that a channel
    of mean cost loses in all, if it goes by all plans. They don't depend on the learning rate.

    Plans are made as by ``group-lasso``, and what goes fades in the same way.

    Attributes:
        strength: what a channel of mean cost loses in all, in mean norms of its group.
        fixed: share of the steps after which the plan stays and nothing is shrunk, (0, 1].
        faded: share of the steps after which the channels that go are zero, (0, 1].
        updates: how often the plan is made anew until then.
        others: what is taken from channels that stay, relative to those that go.
    """

    name: ClassVar[str] = "proximal"
    strength: float = 2.0

    def after_step(self, now: Moment) -> None:
        """Make the proximal step while the plan is open, then let the channels that go fade."""
        if now.progress > self.fixed:
            fade(now, self.fixed, self.faded)
            return
        some = now.cost > 0
        mean = now.cost.sum() / some.sum().clamp(min=1)
        weights = now.cost / mean * torch.where(now.going, 1.0, self.others)
        amount = self.strength / (self.fixed * now.steps) * now.scale * weights
        norms = now.channels.norms(disjoint=True).detach()
        factors = torch.where(norms > 0, (1.0 - amount / norms).clamp(min=0.0), 1.0)
        now.channels.scale(torch.where(some, factors, 1.0), disjoint=True)
