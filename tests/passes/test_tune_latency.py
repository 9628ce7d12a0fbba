"""Latency tables that are corrected near a budget, and what is said of the measured time."""

from __future__ import annotations

import pytest

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.export.ort_session import threads_text
from graphprune.passes import Allocate, Decision, tune_latency
from graphprune.passes.latency import Latency, ProfileLatency, workload
from graphprune.passes.tune_latency import CLOSE, ConfirmLatency, TuneLatency, corrected
from graphprune.pipeline import State
from graphprune.plan.latency_table import LatencyTable
from tests.passes.latency.helpers import decided, made

HALF = gp.Budget.latency(0.5)


def ratio(state: State, table: LatencyTable, decision: Decision) -> float:
    analysis = state[Analysis]
    latency = Latency(workload(analysis), table)
    widths = [len(group.keep) for group in decision.plan.groups]
    return latency.at(widths) / latency.at(analysis.widths)


@pytest.mark.parametrize("factor", [0.7, 1.2, 1.6])
def test_a_corrected_table_predicts_what_was_measured(factor: float) -> None:
    state, _ = made()
    decision, table = decided(state, HALF), state[LatencyTable]
    measured = factor * ratio(state, table, decision)
    found = corrected(table, decision, lambda: measured)
    assert ratio(state, found, decision) == pytest.approx(measured)
    dense = state[Analysis].widths
    before, after = (Latency(workload(state[Analysis]), each).at(dense) for each in (table, found))
    assert after == pytest.approx(before)


def test_plans_by_the_corrected_table_are_smaller_where_it_was_too_hopeful() -> None:
    state, _ = made()
    decision = decided(state, HALF)
    found = corrected(state[LatencyTable], decision, lambda: 0.6)
    again = decided(state.knowing(found), HALF)
    assert again.budgets[0].met
    assert ratio(state, found, again) <= 0.5 * (1 + 1e-9)
    assert again.plan.predicted["macs"] < decision.plan.predicted["macs"]


def test_a_second_correction_starts_from_the_first() -> None:
    state, _ = made()
    decision = decided(state, HALF)
    first = corrected(state[LatencyTable], decision, lambda: 0.6)
    again = decided(state.knowing(first), HALF)
    second = corrected(first, again, lambda: 0.55)
    assert ratio(state, second, again) == pytest.approx(0.55)


def test_what_is_close_or_says_nothing_corrects_nothing() -> None:
    state, _ = made()
    table = state[LatencyTable]
    decision = decided(state, HALF)
    near = (1 + 0.9 * CLOSE) * ratio(state, table, decision)
    assert corrected(table, decision, lambda: near) is table
    whole = decided(state, gp.Budget.latency(1.0))

    def never() -> float:
        raise AssertionError("nothing is cut, so there is nothing to measure")

    assert corrected(table, whole, never) is table


def test_a_network_that_got_slower_leaves_a_table_that_still_falls() -> None:
    state, _ = made()
    decision, table = decided(state, HALF), state[LatencyTable]
    found = corrected(table, decision, lambda: 1.3)
    assert found.scale > 0
    assert ratio(state, table, decision) < ratio(state, found, decision) < 1


def test_corrected_tables_are_written_and_read() -> None:
    state, _ = made()
    found = corrected(state[LatencyTable], decided(state, HALF), lambda: 0.6)
    assert found.constant > 0
    assert LatencyTable.from_json(found.to_json()) == found
    assert "constant" not in state[LatencyTable].to_json()


def test_the_pass_measures_the_plan_of_the_scores_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    state, _ = made()
    seen: list[Decision] = []

    def measured(state: State, decision: Decision, how: ProfileLatency) -> float:
        seen.append(decision)
        return 0.6

    monkeypatch.setattr(tune_latency, "timed", measured)
    tune = TuneLatency(allocate=Allocate(budget=HALF), profile=ProfileLatency())
    found = tune.run(state)
    assert [each.plan for each in seen] == [decided(state, HALF).plan]
    assert ratio(state, found, seen[0]) == pytest.approx(0.6)
    hopeless = TuneLatency(
        allocate=Allocate(budget=gp.Budget.latency(1e-6)), profile=ProfileLatency()
    )
    assert hopeless.run(state) is state[LatencyTable]


@pytest.mark.onnx
def test_the_final_plan_is_timed_beside_the_dense_network() -> None:
    state, _ = made()
    decision = decided(state, HALF)
    found = ConfirmLatency(profile=ProfileLatency()).run(state.knowing(decision))
    (note,) = found.notes[len(decision.notes) :]
    assert threads_text(0) in note
    assert "of the time of the dense network" in note
    assert note.endswith(f"predicted were {ratio(state, state[LatencyTable], decision):.3f}")
