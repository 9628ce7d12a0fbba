"""The decision of an allocation: a plan, how it was reached, and how much of each budget it uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.branch_costs import costs_left
from graphprune.ir.program import fingerprint
from graphprune.passes.solver import Allocation
from graphprune.pipeline import RunFact
from graphprune.plan.plan import GroupPlan, Plan

__all__ = ["ROUNDING", "BudgetStatus", "Decision", "make_plan"]

ROUNDING = 1 + 1e-9
"""Factor by which a cost may exceed its budget, because sums of times are rounded."""


@dataclass(frozen=True)
class BudgetStatus:
    """A budget, and the cost that the plan reaches.

    Attributes:
        cost: name of the cost that is bounded: ``macs``, ``params``, ``latency``, ``memory`` or ``size``.
        asked: the budget as it was given, see ``Budget.amount``.
        dense: cost of the dense network: multiply-accumulates, parameters, microseconds or bytes.
        bound: the budget in that unit.
        reached: cost of the plan in that unit.
    """

    cost: str
    asked: float
    dense: float
    bound: float
    reached: float

    @property
    def met(self) -> bool:
        """Whether the plan is within the budget."""
        return self.reached <= self.bound * ROUNDING


@dataclass(frozen=True)
class Decision(RunFact):
    """A plan, and how it was reached.

    Attributes:
        plan: the kept channels.
        allocation: the allocator's figures: distortion, lower bound, gap.
        budgets: each budget with the cost reached; at least one.
        notes: remarks on this plan, for the user.
        origin: how it was chosen among others.
        curves: group id -> ``[width + 1]``, the distortions that the widths were chosen by.
    """

    plan: Plan
    allocation: Allocation
    budgets: tuple[BudgetStatus, ...]
    notes: tuple[str, ...] = ()
    origin: str = ""
    curves: Mapping[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    @property
    def latency(self) -> BudgetStatus:
        """Times of the dense network and of the plan, by the table, in microseconds; only under a budget of latency."""
        (found,) = (each for each in self.budgets if each.cost == "latency")
        return found


def make_plan(
    analysis: Analysis,
    keep: Mapping[str, tuple[int, ...]],
    budget: Mapping[str, float],
    predicted: Mapping[str, float] | None = None,
) -> Plan:
    """Make a plan with its predicted costs; groups absent from ``keep`` stay whole.

    Args:
        analysis: the analysis of the dense program.
        keep: group id -> indices of the kept channels.
        budget: cost -> amount asked for, see ``Budget.amount``.
        predicted: cost -> predicted value, of costs other than MACs and parameters.
    """
    groups = tuple(
        GroupPlan(
            g.id,
            g.width,
            keep.get(g.id, tuple(range(g.width))),
            tuple(f"{o.tensor}:{o.dim}" for o in g.occurrences),
        )
        for g in analysis.groups
    )
    widths = [len(g.keep) for g in groups]
    gone = [number for number, width in enumerate(widths) if not width]
    costs = costs_left(analysis, analysis.without(gone)) if gone else analysis.costs
    known = {name: getattr(costs, name).at(widths) for name in ("macs", "params")}
    return Plan(
        fingerprint(analysis.module),
        groups,
        dict(budget),
        {**(predicted or {}), **known},
        bool(analysis.inexact),
    )
