"""Correct a latency table near a budget, by the network that a plan for it makes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from graphprune.analysis.analyse import Analysis
from graphprune.errors import InfeasibleBudgetError
from graphprune.export.ort_session import Runtime, Timed, feed, session, threads_text
from graphprune.export.timing import Ratio, interleaved
from graphprune.pipeline import AnalysisPass, State
from graphprune.plan.latency_table import LatencyTable

from .allocate.allocate import Allocate
from .decision import BudgetStatus, Decision
from .latency import ProfileLatency, slim_onnx
from .score import Scores

__all__ = ["ConfirmLatency", "TuneLatency", "corrected"]

CLOSE = 0.03
"""Relative error of a predicted ratio that is left as it is."""

ROUNDS = 60
"""Runs of each network, in turn."""

LEAST = 0.1
"""Smallest share of the predicted saving that is believed, so that times stay positive and falling."""


@dataclass(frozen=True, kw_only=True)
class TuneLatency(AnalysisPass):
    """Measure the network of a first plan, and correct the table if it was predicted wrong.

    A table adds up kernels that were timed alone. What a run takes besides, for each call and for moving data
    between threads, depends little on widths, so that plans near each other are off alike. The plan is
    made from the scores at hand; the corrected table serves for the final one.

    Given: an analysis, scores, a table of this machine. Result: the table, corrected where its ratio to the dense
    network is off by more than 3 %.

    Attributes:
        allocate: makes the plan.
        profile: how the table was measured.
    """

    name: ClassVar[str] = "tune-latency"
    needs = (Analysis, Scores, LatencyTable)
    gives = (LatencyTable,)
    allocate: Allocate
    profile: ProfileLatency

    def run(self, state: State) -> LatencyTable:
        """Make a plan, time its network beside the dense one, and correct the table.

        Raises:
            ExportError: if a network can't be exported.
        """
        table = state[LatencyTable]
        try:
            decision = self.allocate.run(replace(state, progress=None))
        except InfeasibleBudgetError:  # the decision that follows says so
            return table
        return corrected(table, decision, lambda: timed(state, decision, self.profile))


@dataclass(frozen=True, kw_only=True)
class ConfirmLatency(AnalysisPass):
    """Measure the network of the final plan beside the dense one, and note the ratio.

    Given: a decision, and the table that it was made by. Result: the decision with a note.

    Attributes:
        profile: how the table was measured.
    """

    name: ClassVar[str] = "confirm-latency"
    needs = (Analysis, Decision)
    gives = (Decision,)
    profile: ProfileLatency

    def run(self, state: State) -> Decision:
        """Time both networks in turn.

        Raises:
            ExportError: if a network can't be exported.
        """
        decision = state[Decision]
        told = _predicted(decision)
        measured = timed(state, decision, self.profile)
        note = (
            f"onnxruntime takes {measured:.3f} of the time of the dense network, measured with "
            f"{threads_text(self.profile.threads)} on {os.cpu_count()} processors; predicted were "
            f"{told.reached / told.dense:.3f}"
        )
        return replace(decision, notes=(*decision.notes, note))


def timed(state: State, decision: Decision, how: ProfileLatency) -> float:
    """Measure the time of a plan's network as a share of the dense one's, run by run in turn."""
    analysis = state[Analysis]
    state.tell("measure")
    models = [
        slim_onnx(state.program, analysis, widths)
        for widths in (analysis.widths, _widths(decision))
    ]
    sessions = [session(model, Runtime(how.threads, how.provider)) for model in models]
    dense, small = interleaved(
        [Timed(each, feed(each, batch=how.batch)) for each in sessions], rounds=ROUNDS, warmup=3
    )
    return Ratio.of(small, dense).median


def corrected(
    table: LatencyTable, decision: Decision, measure: Callable[[], float]
) -> LatencyTable:
    """Correct a table so that it predicts a plan's ratio to the dense network as it was measured.

    The dense time stays, and a part of it becomes constant: ``t' = a t + (1 - a) t_dense``.

    Args:
        table: predicts times ``t``.
        decision: a plan with its time by the table; one that cuts nothing says nothing.
        measure: returns the plan's ratio to the dense network.
    """
    told = _predicted(decision)
    predicted = told.reached / told.dense
    if predicted >= 1:
        return table
    measured = measure()
    if abs(measured / predicted - 1) <= CLOSE:
        return table
    factor = max(LEAST, (1 - measured) / (1 - predicted))
    constant = factor * table.constant + (1 - factor) * 1e-6 * told.dense
    return replace(table, scale=factor * table.scale, constant=constant)


def _predicted(decision: Decision) -> BudgetStatus:
    """Return the times of the dense network and of a plan, by the table, in microseconds."""
    (found,) = (each for each in decision.budgets if each.cost == "latency")
    return found


def _widths(decision: Decision) -> NDArray[np.int64]:
    return np.array([len(group.keep) for group in decision.plan.groups])
