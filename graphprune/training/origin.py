"""The network that a training began with, where its layers have shrunk since."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from graphprune.cut.cut import Cut
from graphprune.ir.unwrap import unwrap
from graphprune.plan.plan import Plan

__all__ = ["Origin"]


@dataclass(frozen=True, eq=False)
class Origin:
    """A copy of the network before all cuts, and the cuts.

    Attributes:
        dense: the copy; its weights don't matter.
        plans: those that were cut by, each for the network that the one before left.
        cuts: what they did.
    """

    dense: nn.Module
    plans: tuple[Plan, ...] = ()
    cuts: tuple[Cut, ...] = ()

    @staticmethod
    def of(model: nn.Module) -> Origin:
        """Copy a network that will be cut."""
        return Origin(copy.deepcopy(unwrap(model)))

    def then(self, plan: Plan, cut: Cut) -> Origin:
        """Add a cut to those made so far."""
        return replace(self, plans=(*self.plans, plan), cuts=(*self.cuts, cut))

    def whole(self, plan: Plan, budget: Mapping[str, float]) -> Plan:
        """Make the plan for the first network that does what all cuts and one more plan do, one after the other.

        Args:
            plan: for the network as it is.
            budget: what was asked at first.
        """
        first, *others = (*self.plans, plan)
        keep: Mapping[str, tuple[int, ...]] = first.keep
        for each in others:
            keep = {name: tuple(keep[name][i] for i in rows) for name, rows in each.keep.items()}
        groups = tuple(replace(group, keep=keep[group.id]) for group in first.groups)
        return replace(first, groups=groups, budget=budget, predicted=plan.predicted)

    def restored(self, model: nn.Module) -> nn.Module:
        """Copy the first network, with the weights of what it has become in the places where they came from."""
        model = unwrap(model)
        values: dict[str, Tensor] = dict(model.state_dict(keep_vars=True))
        for cut in reversed(self.cuts):
            values |= cut.spread(values)
        dense = copy.deepcopy(self.dense).train(model.training)
        with torch.no_grad():
            for name, tensor in dense.state_dict().items():
                if isinstance(tensor, Tensor):  # a module's extra state is what it is
                    tensor.copy_(values[name])
        return dense
