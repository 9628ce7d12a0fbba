"""The interface of methods that prune while training, and what they share.

A method says when plans are made, what is added to the loss, and what is done to the weights after a step of
the optimiser. It keeps nothing between calls but what it writes to ``Moment.memory``: so a run that was
killed goes on from ``Sparsify.state_dict``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from graphprune.errors import OptionError

from .channels import Channels

__all__ = ["Costs", "Method", "Moment", "check_options", "fade", "hold_at_zero", "ramp"]


@dataclass(frozen=True, eq=False)
class Moment:
    """What a method is told of a step. All tensors are float64 ``[channels]``, unless said otherwise.

    Attributes:
        channels: the channels on the live parameters.
        going: booleans: channels that the plan of the moment removes.
        cost: share of the dense cost that goes with one channel of the group, summed over the budgets; 0 where
            limits keep the group whole.
        scale: mean norm of the channels of the group when training began.
        reference: norm of each channel when the plan was made.
        step: how many steps the optimiser has made.
        steps: how many it will make in all.
        memory: what the method keeps, by name; it may write there. One entry for each channel, which
            follows it when layers shrink.
        held: what the method withholds of parameters, by their number in ``Channels.reading``; it may write there.
        costs: counts the budgets at any widths.
    """

    channels: Channels
    going: Tensor
    cost: Tensor
    scale: Tensor
    reference: Tensor
    step: int
    steps: int
    memory: dict[str, Tensor] = field(default_factory=dict)
    held: dict[int, Tensor] = field(default_factory=dict)
    costs: Costs | None = None

    @property
    def progress(self) -> float:
        """Share of the steps that are done, 0 to 1."""
        return min(1.0, self.step / self.steps)


class Costs(Protocol):
    """What the budgets bound, at any widths; see ``Planner``."""

    def cost_per_channel(self, widths: Sequence[int] | None = None) -> list[float]:
        """Return for each group the share of the dense cost that goes with one channel, of all budgets."""
        ...

    def excess(self, widths: Sequence[int], share: float) -> float:
        """Return by how much widths exceed the budgets on their way, as a share of the dense cost."""
        ...


@dataclass(frozen=True)
class Method:
    """Base class of methods: plans once at the start, and does nothing else.

    A method is a frozen dataclass whose fields are its options. It overrides what it needs.
    """

    name: ClassVar[str]
    criterion: ClassVar[str] = "l2"
    """The criterion by which it chooses channels without calibration data."""
    shrinks: ClassVar[bool] = False
    """Whether the layers are cut in place by each plan, while the training goes on."""

    @property
    def refits(self) -> bool:
        """Whether what stays is refitted on calibration data after each plan, as channels go at once."""
        return False

    def plans(self, steps: int) -> Mapping[int, float]:
        """Say after which steps a plan is made, and for which share of the way to the budget, (0, 1].

        Args:
            steps: of the optimiser in all. 0 stands for the moment before the first.
        """
        del steps
        return {0: 1.0}

    def penalty(self, now: Moment) -> Tensor | None:
        """Compute what is added to the loss: a scalar that the live parameters have gradients of."""
        del now

    def after_step(self, now: Moment) -> None:
        """Change the weights, after a step of the optimiser."""
        del now

    def scores(self, now: Moment) -> Tensor | None:
        """Say for the next plan what is lost with each channel, instead of a criterion: ``[channels]``."""
        del now


def check_options(method: Method, amounts: Sequence[str], shares: Sequence[str] = ()) -> None:
    """Refuse options of a method that are out of range.

    Args:
        method: the method.
        amounts: names of fields that mustn't be negative.
        shares: names of shares of the steps, in (0, 1], each at least the one before.

    Raises:
        OptionError: with the option's name.
    """
    least = 0.0
    for name in (*amounts, *shares):
        value = getattr(method, name)
        if value < 0 or (name in shares and (not 0 < value <= 1 or value < least)):
            raise OptionError(
                f"{name} = {value} of {method.name} is out of range",
                hint=f"{', '.join(shares)} are shares of the steps, in ascending order"
                * bool(shares),
            )
        least = value if name in shares else least


def ramp(progress: float, start: float, stop: float) -> float:
    """Grow linearly from 0 at ``start`` to 1 at ``stop``, in shares of the steps."""
    if progress >= stop:
        return 1.0
    return 0.0 if progress <= start else (progress - start) / (stop - start)


def hold_at_zero(now: Moment) -> None:
    """Set the channels that go to zero."""
    now.channels.scale(torch.where(now.going, 0.0, 1.0).to(now.cost))


def fade(now: Moment, start: float, stop: float) -> None:
    """Keep the channels that go below a norm that falls linearly to 0, between two shares of the steps.

    Channels that the training has brought lower are left alone. So whatever the optimiser and the
    learning rate are, what is cut at the end is zero. Setting weights step by step nearer to zero, rather than at
    once, is that of He et al. 2018 (asymptotic soft filter pruning, arXiv:1808.07471).
    """
    if now.progress <= start:
        return
    ceiling = now.reference * (1.0 - ramp(now.progress, start, stop))
    norms = now.channels.norms().detach()
    factors = torch.where(norms > ceiling, ceiling / norms, 1.0)
    now.channels.scale(torch.where(now.going, factors, 1.0))
