"""Where the channels of a group lie in a value, and what is known of them there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.groups import Group
from graphprune.axes.layout import Layout
from graphprune.passes.score.interpreter import rows_of

from .relations import Relations

__all__ = ["Known", "Place", "place_of"]


@dataclass(frozen=True)
class Known:
    """What is known of the channels of a group at one value.

    Attributes:
        single: constants, and channels that are affine functions of one other.
        several: the same, and channels that combine several others.
    """

    single: Relations
    several: Relations


@dataclass(frozen=True)
class Place:
    """Where a group lies in a value: on one dimension, alone in its rows.

    Attributes:
        dim: the dimension.
        rows: ``[width, m]``: numbers of the ``m`` rows of each channel on it.
    """

    dim: int
    rows: NDArray[np.int64]

    def channels(self, value: torch.Tensor) -> torch.Tensor:
        """Take the channels of a value, ``[width, m, samples]``."""
        moved = value.movedim(self.dim, 0).flatten(1)
        return moved[torch.from_numpy(self.rows)]

    def put(self, value: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
        """Copy a value with other channels."""
        moved = value.movedim(self.dim, 0).clone(memory_format=torch.contiguous_format)
        moved.flatten(1)[torch.from_numpy(self.rows)] = channels
        return moved.movedim(0, self.dim)


def place_of(analysis: Analysis, layout: Layout, group: Group) -> Place | None:
    """Find where a group lies in a value; ``None`` unless on one dimension and alone in its rows."""
    axes = [analysis.labels.resolve(axis) for axis in layout]
    dims = [d for d, axis in enumerate(axes) if np.isin(axis, group.labels).any()]
    if len(dims) != 1:
        return None
    axis = axes[dims[0]]
    rows = rows_of(axis, group)
    if rows is None or len(np.unique(rows)) < rows.size:
        return None
    if np.count_nonzero(axis[rows.reshape(-1)]) != rows.size:
        return None
    return Place(dims[0], rows)
