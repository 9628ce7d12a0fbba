"""Latency tables: the time that each operator takes at any width, measured on one machine, as a file.

Plain data, JSON, no torch. ``docs/latency.md`` states the format.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from graphprune.errors import LoadError
from graphprune.io.strict_json import expect, finite, is_index, parsed, shown

from .kernel_times import CLASSES, Grid, KernelTimes
from .plan import MAX_WIDTH

__all__ = ["FORMAT", "MAX_BYTES", "LatencyTable"]

FORMAT = "graphprune.latency/1"

MAX_BYTES = 1 << 26
"""Largest size of a table as text; that of a network with a hundred distinct layers has some 300,000."""

_ERROR = ("networks", "mean", "largest")


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
        if not self.constant:  # as in files of older versions, which have none
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
        _check(
            isinstance(data, dict) and data.get("format") == FORMAT,
            f"this is not a latency table of the format {FORMAT}",
        )
        names = {"format", "kernels", "per_byte", "per_mac", "scale", "batch", "machine", "error"}
        _check(set(data) - {"constant"} == names, f"a latency table has the keys {sorted(names)}")
        _check(isinstance(data["kernels"], dict), "kernels must be an object")
        for name in ("per_byte", "per_mac", "scale"):
            _check(finite(data[name]) and data[name] >= 0, f"{name} must be a number, at least 0")
        _check(data["scale"] > 0, "scale must be above 0")
        _check(finite(data.get("constant", 0.0)), "constant must be a number")
        _check(_is_width(data["batch"]), "batch must be a positive integer, and not a huge one")
        machine, error = data["machine"], data["error"]
        _check(
            isinstance(machine, dict)
            and all(isinstance(v, str) or is_index(v) for v in machine.values()),
            "machine must hold texts",
        )
        _check(
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


def _check(condition: bool, message: str) -> None:
    """Refuse a latency table unless a condition holds.

    Raises:
        LoadError: unless the condition holds.
    """
    expect(condition, LoadError, message, "see docs/latency.md")


def _measured(name: str, value: Any) -> KernelTimes:
    _check(
        isinstance(value, dict) and set(value) == {"even", "odd", "classes"},
        f"kernel {shown(name)} must have exactly even, odd and classes",
    )
    even, odd = _grid(name, value["even"]), _grid(name, value["odd"])
    rank = len(even.axes)
    _check(len(odd.axes) == rank, f"kernel {shown(name)}: grids of different rank")
    classes = value["classes"]
    _check(
        isinstance(classes, list)
        and len(classes) == CLASSES**rank
        and all(finite(c) and 0 <= c <= 1 for c in classes),
        f"kernel {shown(name)}: classes must be {CLASSES**rank} numbers from 0 to 1",
    )
    return KernelTimes(even, odd, tuple(classes))


def _grid(name: str, value: Any) -> Grid:
    what = f"kernel {shown(name)}"
    _check(
        isinstance(value, dict) and set(value) == {"axes", "seconds"},
        f"{what}: a grid must have exactly axes and seconds",
    )
    axes, seconds = value["axes"], value["seconds"]
    _check(
        isinstance(axes, list) and len(axes) in (1, 2) and all(map(_is_axis, axes)),
        f"{what}: axes must be one or two lists of ascending widths",
    )
    _check(
        isinstance(seconds, list) and len(seconds) == math.prod(map(len, axes)),
        f"{what}: one time is needed for each combination of widths",
    )
    _check(all(finite(s) and s > 0 for s in seconds), f"{what}: times must be above 0")
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
