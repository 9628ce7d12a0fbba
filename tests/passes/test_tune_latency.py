"""Latency tables that are corrected near a budget, and what is said of the measured time."""

from __future__ import annotations

from dataclasses import replace

import pytest

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.errors import InfeasibleBudgetError
from graphprune.export.ort_session import threads_text
from graphprune.passes import Allocate, Decision, Scores
from graphprune.passes.latency import (
    Latency,
    Measured,
    ProfileLatency,
    Stopwatch,
    stopwatch,
    workload,
)
from graphprune.passes.tune_latency import (
    ATTEMPTS,
    CLOSE,
    SettleLatency,
    TuneLatency,
    average,
    corrected,
)
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
    found = corrected(table, decision, Measured(measured))
    assert ratio(state, found, decision) == pytest.approx(measured)
    dense = state[Analysis].widths
    before, after = (Latency(workload(state[Analysis]), each).at(dense) for each in (table, found))
    assert after == pytest.approx(before)


def test_plans_by_the_corrected_table_are_smaller_where_it_was_too_hopeful() -> None:
    state, _ = made()
    decision = decided(state, HALF)
    found = corrected(state[LatencyTable], decision, Measured(0.6))
    again = decided(state.knowing(found), HALF)
    assert again.budgets[0].met
    assert ratio(state, found, again) <= 0.5 * (1 + 1e-9)
    assert again.plan.predicted["macs"] < decision.plan.predicted["macs"]


def test_a_second_correction_starts_from_the_first() -> None:
    state, _ = made()
    decision = decided(state, HALF)
    first = corrected(state[LatencyTable], decision, Measured(0.6))
    again = decided(state.knowing(first), HALF)
    second = corrected(first, again, Measured(0.55))
    assert ratio(state, second, again) == pytest.approx(0.55)


def test_what_is_close_or_says_nothing_corrects_nothing() -> None:
    state, _ = made()
    table = state[LatencyTable]
    decision = decided(state, HALF)
    near = (1 + 0.9 * CLOSE) * ratio(state, table, decision)
    assert corrected(table, decision, Measured(near)) is table
    whole = decided(state, gp.Budget.latency(1.0))
    assert corrected(table, whole, Measured(1.2)) is table


def test_a_network_that_got_slower_leaves_a_table_that_still_falls() -> None:
    state, _ = made()
    decision, table = decided(state, HALF), state[LatencyTable]
    found = corrected(table, decision, Measured(1.3))
    assert found.scale > 0
    assert ratio(state, table, decision) < ratio(state, found, decision) < 1


def test_corrected_tables_are_written_and_read() -> None:
    state, _ = made()
    found = corrected(state[LatencyTable], decided(state, HALF), Measured(0.6))
    assert found.constant > 0
    assert LatencyTable.from_json(found.to_json()) == found
    assert "constant" not in state[LatencyTable].to_json()


def test_plans_are_timed_until_one_is_predicted_right(monkeypatch: pytest.MonkeyPatch) -> None:
    state, _ = made()
    seen: list[Decision] = []

    def measured(_: Stopwatch, decision: Decision) -> Measured:
        seen.append(decision)
        return Measured(1.3 * ratio(state, truth, decision))

    truth = state[LatencyTable]
    monkeypatch.setattr(Stopwatch, "measure", measured)
    found = tuned(HALF).run(state)
    assert seen[0].plan == decided(state, HALF).plan
    assert 2 <= len(seen) <= ATTEMPTS
    final = decided(state.knowing(found), HALF)
    assert 1.3 * ratio(state, truth, final) == pytest.approx(0.5, rel=0.05)


def test_attempts_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    state, _ = made()
    drawn = iter((0.6, 0.4, 0.7, 0.5))
    monkeypatch.setattr(Stopwatch, "measure", lambda *_: Measured(next(drawn)))
    tuned(HALF).run(state)
    assert next(drawn) == 0.5


def test_a_budget_out_of_the_tables_reach_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    state, table = made()
    hopeless = gp.Budget.latency(0.5 * ratio(state, table, decided_least(state)))
    seen: list[Decision] = []

    def measured(_: Stopwatch, decision: Decision) -> Measured:
        seen.append(decision)
        return Measured(0.1 * ratio(state, table, decision))

    monkeypatch.setattr(Stopwatch, "measure", measured)
    found = tuned(hopeless).run(state)
    assert {len(group.keep) for group in seen[0].plan.groups} == {1}
    assert decided(state.knowing(found), hopeless).budgets[0].met


def test_a_correction_that_puts_the_budget_out_of_reach_isnt_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kernels in a row may take other times than alone, so that no correction of sums is right."""
    state, table = made()
    least = ratio(state, table, decided_least(state))
    budget = gp.Budget.latency(1.2 * least)
    monkeypatch.setattr(Stopwatch, "measure", lambda *_: Measured(0.9))
    assert tuned(budget).run(state) is table


def test_a_budget_that_is_out_of_reach_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    state, table = made()
    monkeypatch.setattr(Stopwatch, "measure", lambda _, d: Measured(ratio(state, table, d)))
    assert tuned(gp.Budget.latency(1e-6)).run(state) is table
    assert tuned(HALF, gp.Budget("params", 1e-6)).run(state) is table


def tuned(*budgets: gp.Budget) -> TuneLatency:
    return TuneLatency(allocate=Allocate(budget=budgets), profile=ProfileLatency())


def decided_least(state: State) -> Decision:
    with pytest.raises(InfeasibleBudgetError) as caught:
        decided(state, gp.Budget.latency(1e-6))
    return decided(state, gp.Budget("latency", caught.value.smallest))


def test_the_final_plan_is_moved_to_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    state, truth = made()
    first = replace(decided(state, HALF), origin="by the better of two curves")
    monkeypatch.setattr(Stopwatch, "measure", lambda _, d: Measured(1.3 * ratio(state, truth, d)))
    found = settle(HALF).run(state.knowing(first))
    assert found.plan != first.plan
    assert found.origin == first.origin
    assert 1.3 * ratio(state, truth, found) == pytest.approx(0.5, rel=0.05)
    assert f"takes {1.3 * ratio(state, truth, found):.3f} of" in found.notes[-1]


def test_a_final_plan_is_made_by_the_curves_that_led_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    state, truth = made()
    flipped = {name: curve[0] - curve[::-1] for name, curve in decided(state, HALF).curves.items()}
    steep = {name: 10.0**number * curve for number, (name, curve) in enumerate(flipped.items())}
    known = state.knowing(replace(state[Scores], curves=steep))
    monkeypatch.setattr(Stopwatch, "measure", lambda _, d: Measured(1.3 * ratio(state, truth, d)))
    first = decided(known, HALF)
    found = settle(HALF).run(state.knowing(first))
    assert found.curves.keys() == steep.keys()
    assert all((found.curves[name] == steep[name]).all() for name in steep)


def test_a_plan_that_was_predicted_right_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    state, table = made()
    decision = decided(state, HALF)
    monkeypatch.setattr(Stopwatch, "measure", lambda _, d: Measured(ratio(state, table, d)))
    found = settle(HALF).run(state.knowing(decision))
    assert found.plan == decision.plan
    assert found.notes[:-1] == decision.notes


def test_a_plan_that_can_only_be_too_slow_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    state, table = made()
    least = ratio(state, table, decided_least(state))
    budget = gp.Budget.latency(1.05 * least)
    monkeypatch.setattr(Stopwatch, "measure", lambda *_: Measured(2 * least))
    decision = decided(state, budget)
    found = settle(budget).run(state.knowing(decision))
    assert found.plan == decision.plan
    assert f"takes {2 * least:.3f} of" in found.notes[-1]


def settle(*budgets: gp.Budget) -> SettleLatency:
    return SettleLatency(allocate=Allocate(budget=budgets), profile=ProfileLatency())


@pytest.mark.onnx
def test_the_final_plan_is_timed_beside_the_dense_network(monkeypatch: pytest.MonkeyPatch) -> None:
    state, _ = made()
    decision = decided(state, HALF)
    monkeypatch.setattr(stopwatch, "BUSY", float("inf"))  # the table is not of this machine
    found = settle(HALF).run(state.knowing(decision))
    assert threads_text(0) in found.notes[-1]
    assert "of the time of the dense network" in found.notes[-1]
    predicted = found.budgets[0].reached / found.budgets[0].dense
    assert found.notes[-1].endswith(f"predicted were {predicted:.3f}")


def test_what_a_busy_machine_measured_corrects_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    state, table = made()
    decision = decided(state, HALF)
    busy = Measured(0.7, slowed=1.4)
    assert corrected(table, decision, busy) is table
    monkeypatch.setattr(Stopwatch, "measure", lambda *_: busy)
    assert tuned(HALF).run(state) is table
    found = settle(HALF).run(state.knowing(decision))
    assert found.plan == decision.plan
    assert "the machine was busy" in found.notes[-1]


def test_of_the_plans_that_were_timed_the_one_within_the_budget_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state, _ = made()
    drawn = iter((0.56, 0.47, 0.55))
    monkeypatch.setattr(Stopwatch, "measure", lambda *_: Measured(next(drawn)))
    found = settle(HALF).run(state.knowing(decided(state, HALF)))
    assert "takes 0.470 of" in found.notes[-1]


def test_an_average_of_corrections_keeps_the_time_of_the_dense_network() -> None:
    state, _ = made()
    decision, table = decided(state, HALF), state[LatencyTable]
    mean = average([corrected(table, decision, Measured(m)) for m in (0.4, 0.6)])
    assert ratio(state, mean, decision) == pytest.approx(0.5)
    dense = state[Analysis].widths
    before, after = (Latency(workload(state[Analysis]), each).at(dense) for each in (table, mean))
    assert after == pytest.approx(before)
