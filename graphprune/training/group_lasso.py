"""Group lasso over coupled channels, weighted by cost, with growing pressure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .method import Moment, fade, ramp
from .replanned import Replanned

__all__ = ["GroupLasso"]


@dataclass(frozen=True)
class GroupLasso(Replanned):
    """Press all channels by their norms, so that the training itself finds out which ones it needs least.

    The penalty is ``strength * sum of u[c] * cost[c] * |w_c| / scale[g]`` over the channels ``c`` of all groups ``g``: the
    norms of group lasso (Yuan & Lin 2006, equation 2.1; Wen et al. 2016, SSL, arXiv:1608.03665, equation 2) over
    all coupled rows (Fang et al. 2023, DepGraph, arXiv:2301.12900, section 3.3). With these weights it is what
    the budgets bound, linear in soft widths: at most about ``strength`` in size when training begins. It grows
    linearly from zero, after Wang et al. 2021 (GReg, arXiv:2012.09243, section 3.2). Channels that the plan of
    the moment removes have ``u = 1``, all others ``u = others``: more pressure on what matters less, as in DepGraph's
    equation 6, with two values.

    The channels to go are chosen again and again until the share ``fixed`` of the steps. From then on only those
    are pressed, and they fade to zero until the share ``faded``; in what is left the others settle.

    Attributes:
        strength: of the penalty when it is full grown.
        fixed: share of the steps after which the plan stays, (0, 1].
        faded: share of the steps after which the channels that go are zero, (0, 1].
        updates: how often the plan is made anew until then.
        others: pressure on channels that stay, relative to that on those that go, until the plan stays.
    """

    name: ClassVar[str] = "group-lasso"
    strength: float = 3.0

    def penalty(self, now: Moment) -> Tensor:
        """Sum the norms, each relative to its group's, by cost."""
        norms = now.channels.norms() / now.scale
        others = self.others if now.progress < self.fixed else 0.0
        pressed = now.cost * torch.where(now.going, 1.0, others)
        return self.strength * ramp(now.progress, 0.0, self.fixed) * (pressed * norms).sum()

    def after_step(self, now: Moment) -> None:
        """Let the channels that go fade, once the plan stays."""
        fade(now, self.fixed, self.faded)
