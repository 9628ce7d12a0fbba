"""The rows of any axis that stay when channels are removed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .labels import Axis, Labels

__all__ = ["Kept"]


@dataclass(frozen=True)
class Kept:
    """A choice of labels to keep; called on an axis, it tells which of its rows stay.

    Attributes:
        labels: the label store.
        alive: ``[labels]``: whether each label is kept.
    """

    labels: Labels
    alive: NDArray[np.bool_]

    def __call__(self, axis: Axis) -> NDArray[np.bool_]:
        """Tell for each row of an axis whether all of its labels are kept: booleans ``[rows]``."""
        rows: NDArray[np.bool_] = np.all(self.alive[self.labels.resolve(axis)], axis=1)
        return rows
