"""Statistics of times, on a clock of the test's own."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from graphprune.export.timing import Ratio, Spread, fastest, interleaved


class Clock:
    """Machine time that runs slower or faster; ``work`` says what a unit of work takes now."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.speed = itertools.cycle([1.0])

    def runner(self, name: str, work: float):
        def run() -> float:
            self.order.append(name)
            return work * next(self.speed)

        return run


def test_models_take_turns_and_every_other_round_runs_backwards() -> None:
    clock = Clock()
    interleaved([clock.runner("a", 1), clock.runner("b", 2)], rounds=2, warmup=1)
    assert "".join(clock.order) == "ab" + "ab" + "ba"


def test_warm_up_runs_do_not_count() -> None:
    clock = Clock()
    clock.speed = iter([50.0, 50.0, 1.0, 1.0])
    assert interleaved([clock.runner("a", 3)], rounds=2, warmup=2) == [[3.0, 3.0]]


def test_the_ratio_survives_a_machine_that_slows_down_for_most_of_the_time() -> None:
    clock = Clock()
    # Each round of two runs has a speed of its own: the medians of the two models differ by chance,
    # the ratio in a round doesn't.
    speeds = np.repeat(np.random.default_rng(0).uniform(1, 20, 40), 2)
    clock.speed = iter(speeds.tolist())
    a, b = interleaved([clock.runner("a", 1), clock.runner("b", 0.5)], rounds=40, warmup=0)
    ratio = Ratio.of(b, a)
    assert (ratio.low, ratio.median, ratio.high) == pytest.approx((0.5, 0.5, 0.5))


def test_quartiles() -> None:
    spread = Spread.of([5.0, 1.0, 4.0, 2.0, 3.0])
    assert (spread.least, spread.low, spread.median, spread.high, spread.runs) == (1, 2, 3, 4, 5)


def test_disturbed_runs_are_dropped() -> None:
    quiet = [1.0, 1.01, 0.99, 1.0, 1.02]
    assert min(quiet) <= fastest([*quiet, 9.0, 30.0, 8.0, 12.0]) <= max(quiet)
    assert fastest([1.0, 1.1, 1.2, 7.0, 9.0, 8.0, 7.0, 7.5, 8.0, 9.0, 12.0]) == pytest.approx(1.1)
    assert fastest([2.0]) == 2.0
