"""Predict the time of one operator at any width, from what was measured over a grid of widths."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CLASSES", "Grid", "Kernel", "KernelTimes", "alignment"]

CLASSES = 5
"""Number of width classes: by the largest of 1, 2, 4, 8, 16 that divides the width."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Kernel:
    """An operator with what onnxruntime fuses into it, which it runs as one.

    Attributes:
        kind: such as ``conv``; see ``graphprune.passes.latency``.
        shape: of the input, 0 where its width stands.
        widths: of the dense network: in and out, or one where they are the same channels. Of a grouped convolution
            they count the channels in a group, as attributes state the number of ``groups``; or, if they state the
            channels ``per_group`` (in and out, or one for both), the groups.
        attributes: of the operator, by name.
        tail: element-wise operators after it.
    """

    kind: str
    shape: tuple[int, ...]
    widths: tuple[int, ...]
    attributes: tuple[tuple[str, tuple[int | float, ...]], ...] = ()
    tail: tuple[tuple[str | float, ...], ...] = ()

    @property
    def channels(self) -> int:
        """How many channels of the result one unit of the last width stands for: mostly 1."""
        values = dict(self.attributes)
        return int(values.get("per_group", values.get("groups", (1,)))[-1])

    @property
    def key(self) -> str:
        """Text that identifies the kernel; equal kernels have equal keys."""
        return json.dumps([self.kind, self.shape, self.widths, self.attributes, self.tail])


@dataclass(frozen=True)
class Grid:
    """Times over a grid of widths, interpolated between its points.

    Attributes:
        axes: ascending widths, one or two axes of them.
        seconds: at every combination, the last axis fastest.
    """

    axes: tuple[tuple[int, ...], ...]
    seconds: tuple[float, ...]

    def at(self, widths: Sequence[NDArray[Any]]) -> Array:
        """Interpolate the seconds linearly in each width, constant outside the grid; the widths broadcast."""
        table = np.asarray(self.seconds).reshape([len(axis) for axis in self.axes])
        total: Array = np.zeros(np.broadcast_shapes(*(np.shape(w) for w in widths)))
        cells = [
            _cell(np.asarray(axis), np.asarray(w))
            for axis, w in zip(self.axes, widths, strict=True)
        ]
        for corner in np.ndindex(*(2,) * len(cells)):
            index = tuple(
                low if not side else high
                for (low, high, _), side in zip(cells, corner, strict=True)
            )
            share = math.prod(
                (part if side else 1 - part)
                for (_, _, part), side in zip(cells, corner, strict=True)
            )
            total = total + share * table[index]
        return total


def _cell(axis: NDArray[Any], width: NDArray[Any]) -> tuple[Any, Any, Any]:
    """Find the two grid points around each width, and the fraction of the way between them."""
    low = np.clip(np.searchsorted(axis, width, side="right") - 1, 0, max(len(axis) - 2, 0))
    high = np.minimum(low + 1, len(axis) - 1)
    step = np.maximum(axis[high] - axis[low], 1)
    return low, high, np.clip((width - axis[low]) / step, 0, 1)


@dataclass(frozen=True)
class KernelTimes:
    """Measured times of one kernel, by width.

    Widths that a machine likes, usually multiples of 8 or 16, may be much faster than odd ones
    beside them. So there is one grid of widths that are multiples of 16 (of 8 or less, where the
    dense width is no multiple itself), one of odd widths, and a table of how near the others
    come to the odd ones.

    Attributes:
        even: seconds at widths that divide well.
        odd: seconds at odd widths.
        classes: 0 if a width of this class is as fast as an even one, 1 if as slow as an odd one,
            by class of the first width, then of the second.
    """

    even: Grid
    odd: Grid
    classes: tuple[float, ...]

    def at(self, *widths: NDArray[Any]) -> Array:
        """Predict the seconds at widths, which broadcast to the shape of the result."""
        fast, slow = self.even.at(widths), self.odd.at(widths)
        share = np.asarray(self.classes).reshape((CLASSES,) * len(widths))
        share = share[tuple(alignment(w) for w in widths)]
        result: Array = fast * (slow / fast) ** share
        return result


def alignment(width: NDArray[Any]) -> NDArray[np.int64]:
    """Classify widths by how often 2 divides them, at most 4 times.

    >>> alignment(np.array([7, 12, 48])).tolist()
    [0, 2, 4]
    """
    width = np.asarray(width, dtype=np.int64)
    return sum(
        ((width % (1 << k) == 0).astype(np.int64) for k in range(1, CLASSES)), np.zeros_like(width)
    )
