"""Networks timed side by side, on machines that do other work at times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

import graphprune as gp
from graphprune.passes.latency import Measured, ProfileLatency, Stopwatch, stopwatch
from tests.passes.latency.helpers import decided, made

Rounds = tuple[list[float], list[float]]

QUIET: Rounds = ([2.0] * 8, [1.0] * 8)
SHARED: Rounds = ([3.0] * 8, [1.9] * 8)
"""What the dense network and a smaller one take, which loses more; undisturbed, the dense one takes 2."""


def test_the_fastest_runs_are_compared() -> None:
    measured = Measured.of([1.0, 1.0, 9.0, 1.0], [2.0, 7.0, 2.0, 2.0], undisturbed=2.0)
    assert measured.ratio == pytest.approx(0.5)
    assert measured.slowed == pytest.approx(1.0)
    assert not measured.warning


def test_a_busy_machine_is_named() -> None:
    measured = Measured.of([1.9] * 4, [3.0] * 4, undisturbed=2.0)
    assert "1.5 times as long" in measured.warning
    assert "graphprune bench" in measured.warning


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[Rounds]], Measured]:
    """Return a function that measures on a machine where the networks take given seconds, one try after the other."""
    state, _ = made()
    decision = decided(state, gp.Budget.latency(0.5))
    second = 1e-6 * decision.latency.dense / 2

    def measure(tries: Sequence[Rounds]) -> Measured:
        left: Iterator[Rounds] = iter(
            ([second * each for each in dense], [second * each for each in small])
            for dense, small in tries
        )
        monkeypatch.setattr(stopwatch, "interleaved", lambda *_, **__: next(left))
        found = Stopwatch(state, ProfileLatency()).measure(decision)
        assert not list(left)
        return found

    return measure


@pytest.mark.onnx
def test_networks_are_timed_again_until_the_machine_is_quiet(
    watch: Callable[[Sequence[Rounds]], Measured],
) -> None:
    assert watch([QUIET]) == Measured(0.5)
    assert watch([SHARED, SHARED, QUIET]) == Measured(0.5)


@pytest.mark.onnx
def test_the_least_disturbed_try_counts_where_none_is_quiet(
    watch: Callable[[Sequence[Rounds]], Measured],
) -> None:
    worse: Rounds = ([4.0] * 8, [3.0] * 8)
    tries = [worse] * stopwatch.TRIES
    tries[2] = SHARED
    found = watch(tries)
    assert found.ratio == pytest.approx(1.9 / 3)
    assert found.warning
