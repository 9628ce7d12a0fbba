"""Which rows of an axis stay when channels are removed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .labels import Axis, Labels

__all__ = ["Kept"]


@dataclass(frozen=True)
class Kept:
    """Tells which rows of an axis stay. Callable on any axis of the label store.

    Attributes:
        labels: the label store.
        alive: ``[labels]``: whether each label is kept.
    """

    labels: Labels
    alive: NDArray[np.bool_]

    def __call__(self, axis: Axis) -> NDArray[np.bool_]:
        """``[rows]``: whether all of a row's labels are kept."""
        rows: NDArray[np.bool_] = np.all(self.alive[self.labels.resolve(axis)], axis=1)
        return rows
