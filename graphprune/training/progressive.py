"""A threshold for each group that the training learns, and layers that shrink while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from graphprune.errors import OptionError

from .method import Costs, Method, Moment, check_options, hold_at_zero

__all__ = ["Progressive"]

_MOST = 30.0
"""Largest exponent of a score: two channels may differ by ``exp`` of twice that."""


@dataclass(frozen=True)
class Progressive(Method):
    """Close the gate of every channel whose norm is below its group's threshold, and cut at milestones what is closed.

    This is layer adaptive progressive pruning (Zhai et al. 2023, LAPP, arXiv:2309.14157) on coupled channels, without its
    bypasses.

    A gate stands where layers read a channel. While it is closed, those rows are zero, so that the network computes what
    the cut one will. Their values are kept, are trained on (straight-through), and come back when the gate opens.

    A threshold is learned as the share of its group's norms that lie below it, so that it means the same in all groups.
    It moves down the gradient of the loss plus a multiple of the cost. The gradient of a gate is that of its rows times
    their values, and that of a threshold is their mean over the gates near it, weighted by the slope of a sigmoid of width
    ``softness``. First-order gradients vanish where a network is trained, so the root of their mean square stands for
    them. The multiple of the cost is the one at which the widths meet the budget of the moment: thresholds are shifted
    together until they do. Costs are exact, and their gradients are those of the polynomials at the widths of the moment.

    The budget of the moment falls as ``1 - (1 - t)^3`` until the share ``reached`` of the steps. At each milestone
    widths and channels are chosen exactly, by how far each channel is from its threshold, and the layers are
    cut in place, with the optimiser, so that training is faster from then on. Where they can't be cut, which the
    report says, what goes is held at zero.

    Attributes:
        milestones: how many cuts there are.
        reached: share of the steps after which the budget is reached, (0, 1].
        speed: how far a threshold moves until then, relative to the others, if all gradients say so: in
            shares of a group.
        softness: width of the sigmoid, as a share of a group.
        decay: share of the mean of squared gradients that stays from one step to the next.
    """

    name: ClassVar[str] = "progressive"
    shrinks: ClassVar[bool] = True
    milestones: int = 3
    reached: float = 0.6
    speed: float = 1.0
    softness: float = 0.1
    decay: float = 0.95

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        check_options(self, ("milestones", "speed", "softness", "decay"), ("reached",))
        if self.softness == 0 or self.decay >= 1 or self.milestones < 1:
            raise OptionError(
                "progressive needs a softness above 0, a decay below 1 and a milestone at least"
            )

    def plans(self, steps: int) -> Mapping[int, float]:
        """Plan at equal distances, each for the budget of the moment."""
        shares = [(n + 1) / self.milestones for n in range(self.milestones)]
        return {max(1, round(steps * self.reached * t)): _share(t) for t in shares}

    def scores(self, now: Moment) -> Tensor | None:
        """Say how far each channel is above its threshold, on an exponential scale, by its cost. Opens all gates."""
        _open(now)
        threshold = now.memory.pop("threshold", None)
        if threshold is None:
            return None
        distance = (_ranks(now) - threshold) / self.softness
        return now.cost.clamp(min=1e-12) * distance.clamp(-_MOST, _MOST).exp()

    def after_step(self, now: Moment) -> None:
        """Move the thresholds, then open and close gates."""
        hold_at_zero(now)
        if now.progress >= self.reached:
            return
        _open(now)
        memory = now.memory
        square = _gradients(now).square()
        if bool(square.isfinite().all()):  # else a GradScaler has left out the step
            before = memory.get("square", square)
            memory["square"] = self.decay * before + (1.0 - self.decay) * square
        for name in ("square", "threshold"):
            memory.setdefault(name, torch.zeros_like(square))
        ranks = _ranks(now)
        gated = now.channels.silenced.to(square.device) & (now.cost > 0) & ~now.going
        self._move(now, ranks, gated)
        _shift(now, ranks, gated, _share(now.progress / self.reached))
        _close(now, gated & (ranks <= memory["threshold"]))

    def _move(self, now: Moment, ranks: Tensor, gated: Tensor) -> None:
        """Let thresholds fall where the loss has more to say than the cost, relative to the others, and rise elsewhere."""
        threshold = now.memory["threshold"]
        gate = torch.sigmoid((ranks - threshold) / self.softness)
        slope = torch.where(gated, gate * (1.0 - gate), 0.0)
        near = now.channels.means(slope, _groups(now)).clamp(min=1e-30)
        loss = now.channels.means(slope * now.memory["square"].sqrt(), _groups(now)) / near
        cost = now.channels.spread(_costs(now).cost_per_channel(_widths(now, threshold, ranks)))
        some = gated & (loss > 0) & (cost > 0)
        if not bool(some.any()):
            return
        ratio = torch.where(some, loss / cost.where(some, 1.0), 1.0).log()
        firsts = some & (now.channels.group.diff(prepend=torch.tensor([-1])) > 0).to(some.device)
        ratio = ratio - ratio[firsts if bool(firsts.any()) else some].mean()
        rate = self.speed / (self.reached * now.steps)
        now.memory["threshold"] = threshold - torch.where(some, rate * torch.tanh(ratio / 2), 0.0)


def _share(t: float) -> float:
    """Return the share of the way to the budget, by the share of the time for it."""
    return 1.0 - (1.0 - min(1.0, t)) ** 3


def _costs(now: Moment) -> Costs:
    assert now.costs is not None
    return now.costs


def _groups(now: Moment) -> int:
    return int(now.channels.group[-1]) + 1 if len(now.channels) else 0


def _ranks(now: Moment) -> Tensor:
    """Which share of its group's channels has smaller norms than each channel, of those that aren't to go."""
    group, stays = now.channels.group.to(now.cost.device), ~now.going
    norms = torch.where(stays, now.channels.norms().detach(), -1.0)
    order = norms.argsort(stable=True)
    order = order[group[order].argsort(stable=True)]
    zeros = torch.zeros(_groups(now), dtype=torch.long, device=group.device)
    widths, left = (zeros.index_add(0, group, each.long()) for each in (stays | True, stays))
    place = torch.empty_like(group)
    place[order] = torch.arange(len(group), device=group.device)
    place = place - (widths.cumsum(0) - left)[group]
    return torch.where(stays, (place + 0.5) / left[group].clamp(min=1), -1.0).to(now.cost)


def _gradients(now: Moment) -> Tensor:
    """The gradient of each gate: of the rows that read the channel, times these rows.

    Parameters that had no part in a step, as in layers that are dropped by chance, have no gradient.
    """
    total, reading = torch.zeros_like(now.cost), now.channels.reading
    if reading and all(place.parameter.grad is None for place in reading):
        raise OptionError(
            "progressive reads the gradients, and there are none",
            hint="call step() after optimizer.step() and before zero_grad()",
        )
    for place in reading:
        grad = place.parameter.grad
        if grad is None:
            continue
        product = grad.conj() * place.parameter.detach()
        product = product.real if product.is_complex() else product
        product = product.sum(place.other_dims).to(total)
        rows, channels = place.rows.to(total.device), place.channels.to(total.device)
        total.index_add_(0, channels, product[rows])
    return total


def _widths(now: Moment, threshold: Tensor, ranks: Tensor) -> list[int]:
    """Count the channels above a threshold in each group, at least one."""
    opened = torch.zeros(_groups(now), dtype=now.cost.dtype, device=now.cost.device)
    above = ((ranks > threshold) & ~now.going).to(opened)
    opened.index_add_(0, now.channels.group.to(opened.device), above)
    return [max(1, round(width)) for width in opened.tolist()]


def _shift(now: Moment, ranks: Tensor, gated: Tensor, share: float) -> None:
    """Shift the thresholds together, to where the widths just meet the budget on its way."""
    left = now.channels.means((~now.going).to(ranks), _groups(now))
    widths = now.channels.group.bincount(minlength=_groups(now))[now.channels.group]
    highest = 1.0 - 0.5 / (left * widths.to(left)).clamp(min=1.0)  # the rank of the largest norm
    ceiling = torch.where(gated, highest - 1e-9, 0.0)
    low, high = -2.0, 2.0
    for _ in range(24):
        middle = (low + high) / 2
        shifted = (now.memory["threshold"] + middle).clamp(min=0.0).minimum(ceiling)
        if _costs(now).excess(_widths(now, shifted, ranks), share) > 0:
            low = middle
        else:
            high = middle
    now.memory["threshold"] = (now.memory["threshold"] + high).clamp(min=0.0).minimum(ceiling)


@torch.no_grad()
def _open(now: Moment) -> None:
    """Give back what closed gates hold; what the optimiser added since is kept too."""
    for number, place in enumerate(now.channels.reading):
        held = now.held.pop(number, None)
        if held is not None:
            place.parameter.add_(held)


@torch.no_grad()
def _close(now: Moment, closed: Tensor) -> None:
    """Set the rows that read closed channels to zero, and hold what they were."""
    for number, place in enumerate(now.channels.reading):
        shut = torch.zeros(place.parameter.shape[place.dim], dtype=torch.bool)
        shut[place.rows[closed.cpu()[place.channels]]] = True
        if not bool(shut.any()):
            continue
        view = [-1 if d == place.dim else 1 for d in range(place.parameter.ndim)]
        mask = shut.to(place.parameter.device).view(view)
        now.held[number] = torch.where(mask, place.parameter, 0.0)
        place.parameter.masked_fill_(mask, 0.0)
