"""Time functions in turn: what slows down one slows down all, so ratios and medians survive noise.

Plain arithmetic on a function that runs something and says how many seconds it took; a test
passes one of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Ratio", "Spread", "fastest", "interleaved"]

Runner = Callable[[], float]
"""A function that runs something once and returns the seconds it took."""


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of the seconds that repeated runs took.

    Attributes:
        median: seconds.
        low: lower quartile.
        high: upper quartile; ``high - low`` is the IQR.
        least: the fastest run.
        runs: how many there were.
    """

    median: float
    low: float
    high: float
    least: float
    runs: int

    @staticmethod
    def of(seconds: Sequence[float]) -> Spread:
        """Compute the quartiles of some runs, in seconds.

        >>> Spread.of([1.0, 2.0, 3.0, 4.0, 100.0]).median
        3.0
        """
        low, median, high = np.percentile(np.asarray(seconds), (25, 50, 75)).tolist()
        return Spread(median, low, high, min(seconds), len(seconds))


@dataclass(frozen=True)
class Ratio:
    """How many times as long one function takes as another, round by round.

    A disturbance that outlasts one round slows down both, and leaves their ratio alone.

    Attributes:
        median: of the ratios of runs in the same round.
        low: lower quartile.
        high: upper quartile.
    """

    median: float
    low: float
    high: float

    @staticmethod
    def of(seconds: Sequence[float], base: Sequence[float]) -> Ratio:
        """Compute the ratios of runs to those of ``base`` in the same rounds."""
        spread = Spread.of((np.asarray(seconds) / np.asarray(base)).tolist())
        return Ratio(spread.median, spread.low, spread.high)


def interleaved(
    runners: Sequence[Runner],
    *,
    rounds: int,
    warmup: int = 2,
    tell: Callable[[int], object] = lambda _: None,
) -> list[list[float]]:
    """Run all functions in turn, again and again, every other round backwards.

    Args:
        runners: what to run.
        rounds: how often each runs.
        warmup: how often each runs before that.
        tell: called with the number of every finished round.

    Returns:
        Seconds per runner and round.
    """
    for _ in range(warmup):
        for run in runners:
            run()
    taken: list[list[float]] = [[] for _ in runners]
    for number in range(rounds):
        order = range(len(runners)) if number % 2 == 0 else reversed(range(len(runners)))
        for index in order:
            taken[index].append(runners[index]())
        tell(number)
    return taken


def fastest(seconds: Sequence[float]) -> float:
    """Estimate the time of an undisturbed run: a tenth of the runs are faster.

    Whatever disturbs a run makes it slower, and on a shared machine that may be most of them; the
    least of all would be more of an accident.

    >>> fastest([1.0, 1.1, 1.2, 7.0, 9.0, 8.0, 7.0, 7.5, 8.0, 9.0, 12.0])
    1.1
    """
    return float(np.percentile(np.asarray(seconds), 10))
