"""The criterion interface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from graphprune.analysis import Analysis

__all__ = ["Criterion", "Scores"]


@dataclass(frozen=True)
class Scores:
    """Importance of channels.

    Attributes:
        values: group id -> ``[width]``, float64, not negative; comparable between groups as far
            as the criterion makes it so.
        notes: what the user should know of how they came about.
    """

    values: Mapping[str, NDArray[np.float64]]
    notes: tuple[str, ...] = ()

    def order(self, group: str) -> NDArray[np.int64]:
        """Channels from most to least important; equal ones by number."""
        return np.argsort(-self.values[group], kind="stable")

    def curve(self, group: str) -> NDArray[np.float64]:
        """``[width + 1]``: share of the group's score that is lost when w channels are kept.

        Entry w is the normalised score mass removed: 1 at width 0, 0 at the full width.
        """
        kept = np.concatenate([[0.0], np.cumsum(self.values[group][self.order(group)])])
        return np.maximum(1.0 - kept / kept[-1], 0.0) if kept[-1] > 0 else np.zeros_like(kept)

    def keep(self, group: str, width: int) -> tuple[int, ...]:
        """The ``width`` most important channels, ascending."""
        return tuple(sorted(int(i) for i in self.order(group)[:width]))


class Criterion(Protocol):
    """Scores every channel of every group."""

    def __call__(self, analysis: Analysis) -> Scores:
        """Score the channels of all groups, reducing over all parameters of each."""
        ...
