"""The pass that chooses how many channels each group keeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.groups import Group
from graphprune.data.calibration import Calibration
from graphprune.errors import InfeasibleBudgetError, OptionError
from graphprune.passes.decision import BudgetStatus, Decision, make_plan
from graphprune.passes.latency import Latency, branch_workload, workload
from graphprune.passes.lossless.redundant import Redundant, capped
from graphprune.passes.score import Scores
from graphprune.passes.solver import (
    ALLOCATORS,
    Allocator,
    Charged,
    EqualWidths,
    ErdosRenyiKernel,
    PQIndex,
)
from graphprune.pipeline import AnalysisPass, State
from graphprune.plan.budget import Budget
from graphprune.plan.latency_table import LatencyTable
from graphprune.rebuild.class_constraints import ClassConstraints
from graphprune.rebuild.config_fields import ConfigFields

from .branches import gone_whole, whole_branches, with_branches
from .costs import cost_left, cost_of
from .roofline import Roofline
from .rounding import SLACK, Rounding, fastest
from .silent_scores import silent_scores
from .width_limits import Limits
from .width_problem import WidthProblem

__all__ = ["Allocate"]


MOST = 7 / 8
"""Largest share of its channels that a group loses by default, if nothing but its weights is known."""


@dataclass(frozen=True, kw_only=True)
class Allocate(AnalysisPass):
    """Choose the widths with the least distortion whose costs meet all budgets.

    Given: curves of the groups, and a latency table where a budget or rounding needs one. Result:
    a decision with a plan that is never over budget. Within the budgets already, nothing is cut.

    Attributes:
        budget: one budget, or several of different costs, all of which are met.
        method: name of an allocator; ``dp`` is exact where the network allows it.
        round_to: widths are multiples of this, or dense. Unit: channels. ``"fast"``: multiples of 16, 8 or
            4, if that costs little (see ``fastest``). ``"auto"``: widths that are faster than every
            wider one, by the latency table, as under a latency budget alone.
        min_channels: fewest channels that a group keeps.
        max_cut: largest share of its channels that a group loses, 0 to 1. ``None``: seven eighths where
            weights alone are scored, no branch may go whole and the budgets allow it, as weights say little
            of so small widths.
        protect: patterns of groups or parameters that stay whole, such as ``layer1.*``.
        keep_class: insist on widths that the code of the model's class follows. Those of the
            ``ClassConstraints`` in the state are kept to in any case; where there are none, it
            stands for equal pieces where the code splits evenly.
        uniform: patterns of groups that keep equally many channels, each its own best ones; all that match
            one of the patterns of an entry are one class.
        keep_config: choose widths that the config of the model can state, by the ``ConfigFields`` in the state.
        depth: remove whole branches too, where that is the better choice. Where there are ``ClassConstraints`` in the
            state, only those without which the class can run; none where the config is kept.
    """

    name: ClassVar[str] = "allocate"
    needs = (Analysis, Scores)
    gives = (Decision,)
    budget: Budget | tuple[Budget, ...]
    method: str = "dp"
    round_to: Rounding = 1
    min_channels: int = 1
    max_cut: float | None = 1.0
    protect: tuple[str, ...] = ()
    keep_class: bool = False
    uniform: tuple[tuple[str, ...], ...] = ()
    keep_config: bool = False
    depth: bool = False

    def __post_init__(self) -> None:
        """Refuse options that contradict themselves or are out of range.

        Raises:
            OptionError: with the option's name.
        """
        names = [budget.cost for budget in self.budgets]
        if not names or len(set(names)) < len(names):
            raise OptionError("give one budget or several of different costs")
        if self.method not in ALLOCATORS:
            raise OptionError(
                f"no allocator {self.method!r}",
                hint=f"one of {', '.join(ALLOCATORS)}",
                options=("allocate",),
            )
        _ = self.limits  # which checks them

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The budgets, as a tuple also where there is one."""
        return self.budget if isinstance(self.budget, tuple) else (self.budget,)

    @property
    def limits(self) -> Limits:
        """The limits on the widths that the options state."""
        return Limits(
            round_to=self.round_to,
            min_channels=self.min_channels,
            max_cut=1.0 if self.max_cut is None else self.max_cut,
            protect=self.protect,
            keep_class=self.keep_class,
            uniform=self.uniform,
            keep_config=self.keep_config,
            depth=self.depth,
        )

    @property
    def without_depth(self) -> Allocate:
        """The same pass for plans that keep every branch."""
        return replace(self, depth=False)

    @property
    def needs_table(self) -> bool:
        """Whether the pass needs a latency table in the state."""
        return self.round_to == "auto" or any(b.cost == "latency" for b in self.budgets)

    @property
    def _timed(self) -> bool:
        """Whether widths are held to those that the latency table says are faster than every wider one.

        Under a latency budget alone, a width is no use where a wider one is as fast.
        """
        return self.round_to in (1, "fast") and {b.cost for b in self.budgets} == {"latency"}

    def run(self, state: State) -> Decision:
        """Choose the widths, and make a plan of the channels that score highest.

        Raises:
            InfeasibleBudgetError: if the limits don't allow the budgets.
            OptionError: if the model's cost is 0 in what a budget bounds.
            MismatchError: if the latency table is another network's.
        """
        if self.max_cut is None and not self.depth and state.get(Calibration) is None:
            with suppress(InfeasibleBudgetError):
                return replace(self, max_cut=MOST).run(state)
        if self.round_to == "fast" and not self._timed:
            return self._fastest(state)
        return self._decided(state)

    def _fastest(self, state: State) -> Decision:
        weighed = self.method == "dp" and any(budget.cost == "macs" for budget in self.budgets)
        roofline = Roofline.of(state[Analysis]) if weighed else None

        def decide(multiples: Rounding, worth: float) -> Decision:
            return replace(self, round_to=multiples)._decided(state, roofline, worth)

        return fastest(decide, roofline)

    def _decided(
        self, state: State, roofline: Roofline | None = None, worth: float = 0.0
    ) -> Decision:
        """Choose the widths.

        Args:
            state: see ``run``.
            roofline: tells what is written at each width.
            worth: the distortion that it is worth to write nothing at all.
        """
        analysis, scores = state[Analysis], state[Scores]
        table = state.get(LatencyTable)
        costs = [
            cost_of(b.cost, analysis, state.program, table, depth=self.depth) for b in self.budgets
        ]
        found = state.get(Redundant)
        widths, equal = self._widths(
            analysis, table, state.get(ClassConstraints), state.get(ConfigFields)
        )
        widths = capped(widths, equal, analysis, found)
        curves = {g.id: scores.curve(g.id) for g in analysis.groups}
        curves = with_branches(analysis, curves) if self.depth else curves
        levels = [curve[w] for curve, w in zip(curves.values(), widths, strict=True)]
        asked = self._asked([cost.at(analysis.widths) for cost in costs])
        problem = WidthProblem(analysis, costs, asked, widths, levels, equal, self.limits)
        firsts = [analysis.groups[first] for first in equal.firsts]
        allocator = self._allocator(firsts, analysis, scores)
        if roofline is not None and worth:
            shares = equal.summed(roofline.traffic(widths))
            allocator = Charged([worth * share for share in shares])
        allocation = problem.solved(allocator)
        chosen = [int(w[i]) for w, i in zip(widths, allocation.levels, strict=True)]
        gone = whole_branches(analysis, chosen)
        chosen = [0 if number in gone else width for number, width in enumerate(chosen)]
        keep = {g.id: scores.keep(g.id, n) for g, n in zip(analysis.groups, chosen, strict=True)}
        met = tuple(
            replace(a, reached=cost_left(c, a.cost, analysis, chosen, state.program))
            for a, c in zip(asked, costs, strict=True)
        )
        plan = make_plan(
            analysis,
            keep,
            {b.cost: b.amount for b in self.budgets},
            {m.cost: m.reached for m in met},
        )
        cuts = any(n < w[-1] for n, w in zip(chosen, widths, strict=True))
        notes = (
            *(_far_from_budget(met) if cuts else ()),
            *gone_whole(analysis, gone),
            *silent_scores(scores, plan, allocation, found),
        )
        return Decision(plan, allocation, met, notes, curves=curves)

    def _asked(self, dense: Sequence[float]) -> list[BudgetStatus]:
        """Convert the budgets to bounds, given the dense cost of each."""
        free = [b.cost for b, d in zip(self.budgets, dense, strict=True) if not d]
        if free:
            raise OptionError(
                f"the model's cost in {free[0]} is 0: there is nothing to bound",
                hint="a budget of another kind",
            )
        return [
            BudgetStatus(b.cost, b.amount, d, b.absolute(d), 0.0)
            for b, d in zip(self.budgets, dense, strict=True)
        ]

    def _widths(
        self,
        analysis: Analysis,
        table: LatencyTable | None,
        constraints: ClassConstraints | None,
        config: ConfigFields | None,
    ) -> tuple[list[NDArray[np.int64]], EqualWidths]:
        """Return the candidate widths of every group, and which groups must have equal widths."""
        found, equal = self.limits.widths(analysis, constraints, config)
        if self.round_to == "auto" or self._timed:
            if table is None:
                raise OptionError(
                    "widths that run fast are read off a latency table, and there is none",
                    hint="measure one: graphprune profile MODEL",
                    options=("round_to", "latency_table"),
                )
            runs = branch_workload if self.depth else workload
            latency = Latency(runs(analysis, table.batch), table)
            found = [latency.fast(i, analysis.widths, w) for i, w in enumerate(found)]
        return equal.common(found), equal

    def _allocator(self, groups: Sequence[Group], analysis: Analysis, scores: Scores) -> Allocator:
        if self.method == PQIndex.name:
            # What each channel adds to the distortion: values may be mere ranks, alike in all groups.
            return PQIndex.of([np.diff(scores.curve(group.id)) for group in groups])
        if self.method == ErdosRenyiKernel.name:
            scale = tuple(_erk_density(analysis, group) for group in groups)
            return ErdosRenyiKernel(erk_scale=scale)
        return ALLOCATORS[self.method]()


def _far_from_budget(met: Sequence[BudgetStatus]) -> tuple[str, ...]:
    """Say in a note that a plan leaves much of its only budget, if it does."""
    unused = min(min(m.bound, m.dense) - m.reached - SLACK * m.dense for m in met)
    if unused <= 0 or len(met) > 1:
        return ()
    return (
        f"{met[0].reached / met[0].dense:.1%} of dense: plans nearer the budget are much worse",
    )


def _erk_density(analysis: Analysis, group: Group) -> float:
    """Return the Erdős-Rényi-kernel density of the group's first weight: sum over product of its sizes."""
    shapes = (analysis.tensors[o.tensor].shape for o in group.occurrences)
    first = next((shape for shape in shapes if len(shape) > 1), (group.width,))
    return sum(first) / math.prod(first)
