"""Accuracies: what a page is told of a model's answers on labelled data."""

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
        """Mean over the corruptions."""
        return sum(self.corrupted.values()) / len(self.corrupted) if self.corrupted else None
