"""Correct a latency table near a budget, by the networks that plans for it make."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import ClassVar

from graphprune.analysis.analyse import Analysis
from graphprune.errors import InfeasibleBudgetError
from graphprune.export.ort_session import threads_text
from graphprune.pipeline import AnalysisPass, State
from graphprune.plan.budget import Budget
from graphprune.plan.latency_table import LatencyTable

from .allocate.allocate import Allocate
from .decision import Decision
from .latency import BUSY, Measured, ProfileLatency, Stopwatch
from .score import Scores

__all__ = ["SettleLatency", "TuneLatency", "average", "corrected", "predicted"]

ATTEMPTS = 3
"""Plans that are timed at most, by either pass."""

CLOSE = 0.03
"""Relative error of a predicted ratio that is left as it is."""

OVER = 0.01
"""Part of a budget by which the final network may exceed it by the clock. Its next measurement may differ by as much."""

LEAST_SHARE = 1e-9
"""A share of the FLOPs that no network has: the error tells the fewest that one can have."""

LEAST = 0.1
"""Smallest share of the predicted saving that is believed, so that times stay positive and falling."""


@dataclass(frozen=True, kw_only=True)
class TuneLatency(AnalysisPass):
    """Measure the network of a first plan, correct the table if it was predicted wrong, and plan again.

    A table adds up kernels that were timed alone. What a run takes besides, for each call and for moving data
    between threads, depends little on widths, so that plans near each other are off alike. The plans are
    made from the scores at hand. Where the table says that no plan meets the budget, the smallest network
    is measured first, as small kernels are what it overrates most. A correction by which the budget can no longer be met isn't
    used: there kernels in a row take other times than alone, and what the final network takes is measured anyway.

    Given: an analysis, scores, a table of this machine. Result: the table, corrected until the ratio to the dense
    network is predicted to 3 %, or three times.

    Attributes:
        allocate: makes the plans.
        profile: how the table was measured.
    """

    name: ClassVar[str] = "tune-latency"
    needs = (Analysis, Scores, LatencyTable)
    gives = (LatencyTable,)
    allocate: Allocate
    profile: ProfileLatency

    def run(self, state: State) -> LatencyTable:
        """Make plans, time their networks beside the dense one, and correct the table.

        Raises:
            ExportError: if a network can't be exported.
        """
        table = before = state[LatencyTable]
        watch = Stopwatch(state, self.profile)
        decision = _planned(self.allocate, state)
        if decision is None:
            table = before = self._reaching(state, watch)
            decision = _planned(self.allocate, state.knowing(table))
        corrections: list[LatencyTable] = []
        for _ in range(ATTEMPTS):
            if decision is None or predicted(decision) >= 1:
                break
            better = corrected(table, decision, watch.measure(decision))
            if better is table:
                break
            corrections.append(better)
            before, table = table, average(corrections)
            decision = _planned(self.allocate, state.knowing(table))
        return before if decision is None else table

    def _reaching(self, state: State, watch: Stopwatch) -> LatencyTable:
        """Correct the table by the smallest network, if by the table the budget of latency can't be met even alone."""
        table = state[LatencyTable]
        (asked,) = (budget for budget in self.allocate.budgets if budget.cost == "latency")
        if _planned(replace(self.allocate, budget=asked), state):
            return table
        smallest = self._smallest(state)
        return table if smallest is None else corrected(table, smallest, watch.measure(smallest))

    def _smallest(self, state: State) -> Decision | None:
        """Plan for the smallest network, with its latency; none if no smaller one is predicted to be faster."""
        try:
            replace(self.allocate, budget=Budget("macs", LEAST_SHARE)).run(state.silent())
        except InfeasibleBudgetError as error:
            fewest = Budget("macs", error.smallest)
            return _planned(replace(self.allocate, budget=(fewest, Budget("latency", 1.0))), state)
        return None


@dataclass(frozen=True, kw_only=True)
class SettleLatency(AnalysisPass):
    """Measure the network of the final plan, and move the plan to its budget if it was predicted wrong.

    The plan is made again from the curves that led to it and the corrected table, until the ratio to the dense network is
    predicted to 3 % and at most 1 % above the budget, or three networks were timed. Of these, the one counts that uses most of the budget by
    the clock and exceeds it by at most 1 %. A note says what was measured.

    Given: a decision, the scores, and the table that it was made by. Result: the decision.

    Attributes:
        allocate: makes the plans.
        profile: how the table was measured.
    """

    name: ClassVar[str] = "settle-latency"
    needs = (Analysis, Scores, LatencyTable, Decision)
    gives = (Decision,)
    allocate: Allocate
    profile: ProfileLatency

    def run(self, state: State) -> Decision:
        """Time both networks in turn, and plan again where it has to be.

        Raises:
            ExportError: if a network can't be exported.
        """
        decision, table = state[Decision], state[LatencyTable]
        watch = Stopwatch(state, self.profile)
        timed = [(decision, watch.measure(decision))]
        scores = replace(state[Scores], curves=decision.curves or state[Scores].curves)
        corrections: list[LatencyTable] = []
        while len(timed) < ATTEMPTS:
            better = corrected(table, *timed[-1], close=OVER if _exceeds(*timed[-1]) else CLOSE)
            if better is table:
                break
            corrections.append(better)
            table = average(corrections)
            again = _planned(self.allocate, state.knowing(scores, table))
            if again is None:  # measured, it is out of reach; the note says how far
                break
            again = replace(again, origin=decision.origin)
            timed.append((again, watch.measure(again)))
        decision, measured = min(timed, key=lambda each: (_exceeds(*each), -each[1].ratio))
        note = (
            f"onnxruntime takes {measured.ratio:.3f} of the time of the dense network, measured with "
            f"{threads_text(self.profile.threads)} on {os.cpu_count()} processors; predicted were "
            f"{predicted(decision):.3f}{measured.warning}"
        )
        return replace(decision, notes=(*decision.notes, note))


def _exceeds(decision: Decision, measured: Measured) -> float:
    """By which part of the budget a network exceeds it by the clock, beyond what is allowed; 0 if it doesn't."""
    asked = decision.latency.bound / decision.latency.dense
    return max(0.0, measured.ratio / asked - 1 - OVER)


def average(tables: Sequence[LatencyTable]) -> LatencyTable:
    """Average corrections of one table: plans differ in what the table gets wrong, so the last alone may lead astray."""
    scale = statistics.fmean(table.scale for table in tables)
    constant = statistics.fmean(table.constant for table in tables)
    return replace(tables[0], scale=scale, constant=constant)


def corrected(
    table: LatencyTable, decision: Decision, measured: Measured, close: float = CLOSE
) -> LatencyTable:
    """Correct a table so that it predicts a plan's ratio to the dense network as it was measured.

    The dense time stays, and a part of it becomes constant: ``t' = a t + (1 - a) t_dense``.

    Args:
        table: predicts times ``t``.
        decision: a plan with its time by the table; one that cuts nothing says nothing.
        measured: the plan's ratio to the dense network.
        close: relative error that is left as it is.

    Returns:
        The table itself, if it is right, or if the machine was too busy to tell.
    """
    told = predicted(decision)
    if told >= 1 or abs(measured.ratio / told - 1) <= close or measured.slowed > BUSY:
        return table
    factor = max(LEAST, (1 - measured.ratio) / (1 - told))
    constant = factor * table.constant + (1 - factor) * 1e-6 * decision.latency.dense
    return replace(table, scale=factor * table.scale, constant=constant)


def predicted(decision: Decision) -> float:
    """Return the time of a plan's network over that of the dense one, by the table it was made by."""
    told = decision.latency
    return told.reached / told.dense


def _planned(allocate: Allocate, state: State) -> Decision | None:
    """Plan for the budgets; none if they can't be met."""
    with suppress(InfeasibleBudgetError):
        return allocate.run(state.silent())
    return None
