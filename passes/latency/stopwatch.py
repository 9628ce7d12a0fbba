"""Time the network of a plan beside the dense one, and tell if other work on the machine disturbed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from graphprune.analysis.analyse import Analysis
from graphprune.export.ort_session import Runtime, Timed, feed, session
from graphprune.export.timing import fastest, interleaved
from graphprune.passes.decision import Decision
from graphprune.pipeline import State

from .profiling import ProfileLatency, slim_onnx

__all__ = ["BUSY", "TRIES", "Measured", "Stopwatch"]

ROUNDS = 20
"""How often each network is timed, in turn."""

BUSY = 1.15
"""Times as long as undisturbed that the dense network may take. Beyond, ratios say little."""

TRIES = 3
"""How often networks are timed at most until the machine isn't busy. Some ten seconds in all."""


@dataclass(frozen=True)
class Measured:
    """The time of a network as a share of the dense one's, as far as other work on the machine let it be measured.

    Tables hold the times of undisturbed runs, so these count here too. A disturbance changes ratios: it
    takes more from short runs, or from those that use more threads.

    Attributes:
        ratio: of the fastest runs.
        slowed: how many times as long the dense network took as it does undisturbed.
    """

    ratio: float
    slowed: float = 1.0

    @staticmethod
    def of(small: Sequence[float], dense: Sequence[float], undisturbed: float) -> Measured:
        """Compare the seconds that two networks took in the same rounds, and those of the dense one with what it takes."""
        least = fastest(dense)
        return Measured(fastest(small) / least, least / undisturbed)

    @property
    def warning(self) -> str:
        """What to say of a busy machine, or nothing."""
        if self.slowed <= BUSY:
            return ""
        return (
            f"; the machine was busy, the dense network took {self.slowed:.1f} times as long as for the table: "
            "time both files again with graphprune bench"
        )


@dataclass(frozen=True)
class Stopwatch:
    """The dense network, exported once, and networks of plans timed beside it.

    Attributes:
        state: with the analysis of the dense program.
        how: threads, provider and batch.
    """

    state: State
    how: ProfileLatency

    def measure(self, decision: Decision) -> Measured:
        """Time a plan's network and the dense one in turn, again if the machine was busy.

        By the table that the plan was made by, the dense network takes what it takes when nothing else runs.
        """
        self.state.tell("measure")
        widths = np.array([len(group.keep) for group in decision.plan.groups])
        undisturbed, both = 1e-6 * decision.latency.dense, [self._dense, self._timed(widths)]
        tries: list[Measured] = []
        while not tries or (tries[-1].slowed > BUSY and len(tries) < TRIES):
            dense, small = interleaved(both, rounds=ROUNDS, warmup=3)
            tries.append(Measured.of(small, dense, undisturbed))
        return min(tries, key=lambda each: each.slowed)

    @cached_property
    def _dense(self) -> Timed:
        return self._timed(self.state[Analysis].widths)

    def _timed(self, widths: NDArray[np.int64]) -> Timed:
        model = slim_onnx(self.state.program, self.state[Analysis], widths)
        of = session(model, Runtime(self.how.threads, self.how.provider))
        return Timed(of, feed(of, batch=self.how.batch))
