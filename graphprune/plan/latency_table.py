"""Latency tables: the time that each operator takes at any width, measured on one machine.

Plain data, JSON, no torch. ``docs/latency.md`` states the format.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import LoadError
from graphprune.io.strict_json import expect, finite, is_index, parsed, shown

from .plan import MAX_WIDTH

__all__ = [
    "CLASSES",
    "FORMAT",
    "MAX_BYTES",
    "Grid",
    "Kernel",
    "KernelTimes",
    "LatencyTable",
    "alignment",
]

FORMAT = "graphprune.latency/1"

MAX_BYTES = 1 << 26
"""Largest size of a table as text; that of a network with a hundred distinct layers has some 300,000."""

CLASSES = 5
"""Number of width classes: by the largest of 1, 2, 4, 8, 16 that divides the width."""

_ERROR = ("networks", "mean", "largest")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Kernel:
    """An operator with what onnxruntime fuses into it, which it runs as one.

    Attributes:
        kind: such as ``conv``; see ``graphprune.passes.latency``.
        shape: of the input, 0 where its width stands.
        widths: of the dense network: in and out, or one where they are the same channels.
        attributes: of the operator, by name.
        tail: element-wise operators after it.
    """

    kind: str
    shape: tuple[int, ...]
    widths: tuple[int, ...]
    attributes: tuple[tuple[str, tuple[int | float, ...]], ...] = ()
    tail: tuple[tuple[str | float, ...], ...] = ()

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


@dataclass(frozen=True)
class LatencyTable:
    """Times of the operators of a network on one machine.

    Attributes:
        kernels: by ``Kernel.key``.
        per_byte: seconds per byte that an operator without a kernel of its own writes.
        per_mac: seconds per multiply-accumulate of such an operator.
        scale: whole networks take this many times the sum.
        constant: seconds that every run takes besides; only of tables corrected near a budget.
        batch: samples per run.
        machine: ``provider``, ``threads``, ``processor``, ``onnxruntime``.
        error: of the prediction, over whole networks: ``networks``, ``mean``, ``largest``.
    """

    kernels: Mapping[str, KernelTimes]
    per_byte: float
    per_mac: float
    scale: float = 1.0
    constant: float = 0.0
    batch: int = 1
    machine: Mapping[str, str | int] = field(default_factory=dict)
    error: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """Write the table as JSON text, times in seconds."""
        data = asdict(self)
        if not self.constant:  # as in files of before there was any
            del data["constant"]
        data["kernels"] = {name: asdict(times) for name, times in sorted(self.kernels.items())}
        return json.dumps({"format": FORMAT} | data, indent=1, sort_keys=True) + "\n"

    @staticmethod
    def from_json(text: str) -> LatencyTable:
        """Read a latency table from JSON text.

        Raises:
            LoadError: if the text isn't a table of a known version; nothing is guessed.
        """
        data = parsed(text, MAX_BYTES, LoadError, "the latency table")
        check(
            isinstance(data, dict) and data.get("format") == FORMAT,
            f"this is not a latency table of the format {FORMAT}",
        )
        names = {"format", "kernels", "per_byte", "per_mac", "scale", "batch", "machine", "error"}
        check(set(data) - {"constant"} == names, f"a latency table has the keys {sorted(names)}")
        check(isinstance(data["kernels"], dict), "kernels must be an object")
        for name in ("per_byte", "per_mac", "scale"):
            check(finite(data[name]) and data[name] >= 0, f"{name} must be a number, at least 0")
        check(data["scale"] > 0, "scale must be above 0")
        check(finite(data.get("constant", 0.0)), "constant must be a number")
        check(_is_width(data["batch"]), "batch must be a positive integer, and not a huge one")
        machine, error = data["machine"], data["error"]
        check(
            isinstance(machine, dict)
            and all(isinstance(v, str) or is_index(v) for v in machine.values()),
            "machine must hold texts",
        )
        check(
            isinstance(error, dict)
            and set(error) in (set(), set(_ERROR))
            and all(map(finite, error.values())),
            f"error must hold {', '.join(_ERROR)}, or nothing",
        )
        kernels = {name: _measured(name, value) for name, value in data["kernels"].items()}
        return LatencyTable(
            kernels=kernels,
            per_byte=data["per_byte"],
            per_mac=data["per_mac"],
            scale=data["scale"],
            constant=data.get("constant", 0.0),
            batch=data["batch"],
            machine=machine,
            error=error,
        )


def check(condition: bool, message: str) -> None:
    """Refuse a latency table unless a condition holds.

    Raises:
        LoadError: unless the condition holds.
    """
    expect(condition, LoadError, message, "see docs/latency.md")


def _measured(name: str, value: Any) -> KernelTimes:
    check(
        isinstance(value, dict) and set(value) == {"even", "odd", "classes"},
        f"kernel {shown(name)} must have exactly even, odd and classes",
    )
    even, odd = _grid(name, value["even"]), _grid(name, value["odd"])
    rank = len(even.axes)
    check(len(odd.axes) == rank, f"kernel {shown(name)}: grids of different rank")
    classes = value["classes"]
    check(
        isinstance(classes, list)
        and len(classes) == CLASSES**rank
        and all(finite(c) and 0 <= c <= 1 for c in classes),
        f"kernel {shown(name)}: classes must be {CLASSES**rank} numbers from 0 to 1",
    )
    return KernelTimes(even, odd, tuple(classes))


def _grid(name: str, value: Any) -> Grid:
    what = f"kernel {shown(name)}"
    check(
        isinstance(value, dict) and set(value) == {"axes", "seconds"},
        f"{what}: a grid must have exactly axes and seconds",
    )
    axes, seconds = value["axes"], value["seconds"]
    check(
        isinstance(axes, list) and len(axes) in (1, 2) and all(map(_is_axis, axes)),
        f"{what}: axes must be one or two lists of ascending widths",
    )
    check(
        isinstance(seconds, list) and len(seconds) == math.prod(map(len, axes)),
        f"{what}: one time is needed for each combination of widths",
    )
    check(all(finite(s) and s > 0 for s in seconds), f"{what}: times must be above 0")
    return Grid(tuple(map(tuple, axes)), tuple(map(float, seconds)))


def _is_axis(axis: Any) -> bool:
    return (
        isinstance(axis, list)
        and bool(axis)
        and all(map(_is_width, axis))
        and all(a < b for a, b in pairwise(axis))
    )


def _is_width(value: Any) -> bool:
    """Whether a value is a positive integer that fits arithmetic, as a number of channels or samples."""
    return is_index(value) and 0 < value <= MAX_WIDTH
