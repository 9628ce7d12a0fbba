"""A model's accuracy on labelled data, clean and corrupted, as the page is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Accuracies"]


@dataclass(frozen=True)
class Accuracies:
    """Shares of right answers, 0 to 1.

    Attributes:
        source: where the data comes from.
        clean: on the data as it is.
        corrupted: on corrupted data, by the name of the corruption; empty if the inputs are no
            images.
    """

    source: str
    clean: float
    corrupted: Mapping[str, float]

    @property
    def mean(self) -> float | None:
        """The mean accuracy over the corruptions."""
        return sum(self.corrupted.values()) / len(self.corrupted) if self.corrupted else None
