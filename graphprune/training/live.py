"""The network as it is at a moment of its training: its channels, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from graphprune.plan.plan import Plan

from .channels import Channels
from .method import Moment
from .planner import Planner

__all__ = ["Live"]


@dataclass(eq=False)
class Live:
    """The channels of the present network, with tensors of one entry for each.

    Attributes:
        planner: chooses among them.
        channels: on the live parameters.
        cost: share of the dense cost that goes with one.
        initial: norms when training began.
        reference: norms when the plan was made.
        going: those that the plan of the moment removes.
        memory: what the method keeps.
        held: what it withholds of parameters.
    """

    planner: Planner
    channels: Channels
    cost: Tensor
    initial: Tensor
    reference: Tensor
    going: Tensor
    memory: dict[str, Tensor] = field(default_factory=dict)
    held: dict[int, Tensor] = field(default_factory=dict)

    @staticmethod
    def of(planner: Planner) -> Live:
        """Look at a network before anything is done to it."""
        channels = Channels.of(planner.analysis)
        norms = channels.norms().detach()
        cost = channels.spread(planner.cost_per_channel())
        going = torch.zeros(len(norms), dtype=torch.bool, device=channels.device)
        return Live(planner, channels, cost, norms, norms, going)

    def of_kept(self, planner: Planner) -> Live:
        """Look at the network that is left when those that go are gone."""
        stay = ~self.going
        live = Live.of(planner)
        live.initial, live.reference = self.initial[stay], self.reference[stay]
        live.memory = {name: value[stay] for name, value in self.memory.items()}
        return live

    @property
    def widths(self) -> list[int]:
        """How many channels each group has."""
        return self.planner.analysis.widths.tolist()

    def removed_by(self, plan: Plan | None) -> Tensor:
        """Tell which channels a plan removes: booleans ``[channels]``."""
        groups, keep = self.planner.analysis.groups, {} if plan is None else plan.keep
        going = [torch.ones(group.width, dtype=torch.bool) for group in groups]
        for group, mask in zip(groups, going, strict=True):
            mask[list(keep.get(group.id, range(group.width)))] = False
        together = torch.cat(going) if going else torch.zeros(0, dtype=torch.bool)
        return together.to(self.channels.device)

    def moment(self, step: int, steps: int) -> Moment:
        """Tell a method of a step."""
        means = self.channels.means(self.initial, len(self.planner.analysis.groups))
        return Moment(
            self.channels,
            self.going,
            self.cost,
            torch.where(means > 0, means, 1.0),
            self.reference,
            step,
            steps,
            self.memory,
            self.held,
            self.planner,
        )
