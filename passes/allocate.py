"""Allocate: how many channels each group keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from graphprune.analysis import Analysis
from graphprune.budget import Budget
from graphprune.cost import Polynomial
from graphprune.errors import InfeasibleBudgetError, PlanError
from graphprune.explain import frozen
from graphprune.graph import fingerprint
from graphprune.groups import Group
from graphprune.pipeline import AnalysisPass, State
from graphprune.plan import GroupPlan, Plan

from .allocation import (
    ALLOCATORS,
    Allocation,
    Allocator,
    ErdosRenyiKernel,
    Infeasible,
    PQIndex,
    Problem,
    approach,
)
from .score import Scores

if TYPE_CHECKING:
    from .recover import Repaired

__all__ = ["Allocate", "Decision", "make_plan"]


SLACK = 0.005
"""A budget is used to within this share of the dense cost ..."""

PRICE = 1.05
"""... unless that takes more than this much distortion: where single channels are dear, the
plans that fill the budget may be far worse than the best one below it."""


@dataclass(frozen=True)
class Decision:
    """A plan and how it was reached.

    Attributes:
        plan: the kept channels.
        allocation: the optimiser's figures: distortion, lower bound, gap.
        dense: dense cost in the unit of the budget.
        bound: the budget in the same unit.
        cost: what the plan costs.
        notes: what the user should know of it.
        repaired: weights that go with the plan, if they were found while choosing it.
        curves: group id -> ``[width + 1]``, the distortions that the widths were chosen by.
    """

    plan: Plan
    allocation: Allocation
    dense: float
    bound: float
    cost: float
    notes: tuple[str, ...] = ()
    repaired: Repaired | None = field(default=None, repr=False)
    curves: Mapping[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Allocate(AnalysisPass):
    """Choose the widths with the least distortion whose cost meets the budget.

    Given: curves of the groups. Result: a plan, never over budget.

    Attributes:
        budget: the bound.
        method: name of an allocator; ``dp`` is exact where the network allows it.
        round_to: widths are multiples of this, or stay whole. Unit: channels.
        min_channels: no group keeps fewer.
        max_cut: no group loses a larger share of its channels.
        protect: patterns of groups or parameters to leave whole, as ``layer1.*``.
    """

    name: ClassVar[str] = "allocate"
    needs = (Analysis, Scores)
    gives = (Decision,)
    budget: Budget
    method: str = "dp"
    round_to: int = 1
    min_channels: int = 1
    max_cut: float = 1.0
    protect: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse options that can't be meant.

        Raises:
            PlanError: with the option's name.
        """
        if self.method not in ALLOCATORS:
            raise PlanError(f"no allocator {self.method!r}", hint=f"one of {', '.join(ALLOCATORS)}")
        if self.round_to < 1 or self.min_channels < 1 or not 0 <= self.max_cut <= 1:
            raise PlanError("round-to and min-channels must be at least 1, max-cut within 0..1")

    def run(self, state: State) -> Decision:
        """Allocate.

        Raises:
            InfeasibleBudgetError: if the limits don't allow the budget.
        """
        analysis, scores = state[Analysis], state[Scores]
        unmatched = [p for p in self.protect if not any(_matches(g, (p,)) for g in analysis.groups)]
        if unmatched:
            raise PlanError(f"nothing matches --protect {unmatched[0]!r}",
                            hint="`graphprune inspect` lists the groups and their parameters")
        cost: Polynomial = getattr(analysis.costs, self.budget.cost)
        dense = cost.at(analysis.widths)
        bound = self.budget.absolute(dense)
        widths = [self._candidates(g) for g in analysis.groups]
        curves = {g.id: scores.curve(g.id) for g in analysis.groups}
        problem = Problem.from_polynomial(
            widths,
            [curve[w] for curve, w in zip(curves.values(), widths, strict=True)],
            cost.terms,
            bound,
        )
        try:
            allocation = _filled(problem, self._allocator(analysis, scores)(problem), dense)
        except Infeasible as error:
            raise self._infeasible(analysis, dense, bound, error.smallest) from error
        chosen = [int(w[i]) for w, i in zip(widths, allocation.levels, strict=True)]
        keep = {g.id: scores.keep(g.id, n) for g, n in zip(analysis.groups, chosen, strict=True)}
        plan = make_plan(analysis, keep, {self.budget.cost: self.budget.amount})
        reached = cost.at(chosen)
        unused = min(bound, dense) - reached > SLACK * dense
        note = f"{reached / dense:.1%} of dense: plans nearer the budget are much worse"
        return Decision(plan, allocation, dense, bound, reached, (note,) if unused else (),
                        curves=curves)

    def _candidates(self, group: Group) -> NDArray[np.int64]:
        least = max(self.min_channels, math.ceil(group.width * (1 - self.max_cut)), 1)
        if _matches(group, self.protect) or least >= group.width:
            return np.asarray([group.width])
        widths = np.arange(least, group.width + 1)
        fits = (widths % self.round_to == 0) | (widths == group.width)
        return widths[fits]

    def _allocator(self, analysis: Analysis, scores: Scores) -> Allocator:
        if self.method == PQIndex.name:
            return PQIndex.of([scores.values[g.id] for g in analysis.groups])
        if self.method == ErdosRenyiKernel.name:
            scale = tuple(_erk_density(analysis, g) for g in analysis.groups)
            return ErdosRenyiKernel(erk_scale=scale)
        return ALLOCATORS[self.method]()

    def _infeasible(self, analysis: Analysis, dense: float, bound: float,
                    smallest: float) -> InfeasibleBudgetError:
        held = "; ".join(
            f"{f.reason} ({f.where or f.operator}): {f.channels} channels in "
            f"{', '.join(f.axes[:3])}{'...' if len(f.axes) > 3 else ''}"
            for f in frozen(analysis)[:5]
        )
        limits = [f"--protect {' '.join(self.protect)}"] if self.protect else []
        limits += [f"--round-to {self.round_to}"] if self.round_to > 1 else []
        limits += [f"--min-channels {self.min_channels}"] if self.min_channels > 1 else []
        limits += [f"--max-cut {self.max_cut}"] if self.max_cut < 1 else []
        relax = f"relax {', '.join(limits)}; " if limits else ""
        return InfeasibleBudgetError(
            f"{self.budget.cost} {bound:.6g} can't be reached: the smallest is {smallest:.6g}, "
            f"{smallest / dense:.4f} of dense ({dense:.6g})",
            smallest=smallest,
            hint=f"{relax}frozen: {held or 'nothing'}",
        )


def _filled(problem: Problem, found: Allocation, dense: float) -> Allocation:
    """The allocation moved up to the budget, if that is cheap."""
    levels = approach(problem, found.levels, min(problem.budget, dense) - SLACK * dense)
    if problem.distortion(levels) > PRICE * found.distortion:
        return found
    return Allocation.of(problem, levels, found.method, found.lower_bound)


def make_plan(analysis: Analysis, keep: Mapping[str, tuple[int, ...]],
              budget: Mapping[str, float]) -> Plan:
    """A plan with its predicted costs; groups absent from ``keep`` stay whole."""
    groups = tuple(
        GroupPlan(g.id, g.width, keep.get(g.id, tuple(range(g.width))),
                  tuple(f"{o.tensor}:{o.dim}" for o in g.occurrences))
        for g in analysis.groups
    )
    widths = [len(g.keep) for g in groups]
    costs = analysis.costs
    predicted = {name: getattr(costs, name).at(widths) for name in ("macs", "params")}
    return Plan(fingerprint(analysis.module), groups, dict(budget), predicted,
                bool(analysis.inexact))


def _matches(group: Group, patterns: tuple[str, ...]) -> bool:
    names = (group.id, *(o.tensor for o in group.occurrences))
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _erk_density(analysis: Analysis, group: Group) -> float:
    """Erdős-Rényi-kernel density of the group's first weight: sum over product of its sizes."""
    shapes = (analysis.tensors[o.tensor].shape for o in group.occurrences)
    first = next((shape for shape in shapes if len(shape) > 1), (group.width,))
    return sum(first) / math.prod(first)
