"""Record what a network loses at each of several budgets: plain data, JSON, CSV, a picture."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any

from graphprune.errors import LoadError, OptionError, OutputError
from graphprune.io.strict_json import expect, finite, parsed, shown
from graphprune.plan.budget import parse_amount

__all__ = ["COLUMNS", "FORMAT", "BudgetCurve", "Point", "csv_table", "draw", "shares"]

FORMAT = "graphprune.front/1"

MAX_BYTES = 1 << 24
"""Largest size of a stored budget curve, in bytes."""

_STEPS = 7
"""Number of budgets in a range that doesn't state one."""


@dataclass(frozen=True)
class Point:
    """One budget, and what a model loses at it.

    Attributes:
        asked: share of the dense FLOPs.
        flops: share that the plan has; ``None``, here and below, if no plan meets the budget.
        params: share of the parameters.
        distortion: predicted.
        latency: predicted, in milliseconds; ``None`` without a table.
        accuracy: measured, 0 to 1; ``None`` without labelled data.
    """

    asked: float
    flops: float | None = None
    params: float | None = None
    distortion: float | None = None
    latency: float | None = None
    accuracy: float | None = None


COLUMNS = tuple(field.name for field in fields(Point))
"""Names of a point's fields, which are the columns of the CSV table."""


@dataclass(frozen=True)
class BudgetCurve:
    """What one model loses at each of several budgets.

    Attributes:
        of: what all points depend on, such as the hash of the model and the options.
        points: by budget, ascending.
    """

    of: dict[str, Any]
    points: tuple[Point, ...] = ()

    def with_point(self, point: Point) -> BudgetCurve:
        """Add a point, in the place of an earlier one of the same budget."""
        others = [p for p in self.points if p.asked != point.asked]
        return BudgetCurve(self.of, tuple(sorted([*others, point], key=lambda p: p.asked)))

    def to_json(self) -> str:
        """Write one JSON document with a ``format`` key."""
        return json.dumps({"format": FORMAT} | asdict(self), indent=1) + "\n"

    def to_csv(self) -> str:
        """Write a table with one row for each point."""
        return csv_table(COLUMNS, (asdict(point) for point in self.points))

    @staticmethod
    def from_json(text: str) -> BudgetCurve:
        """Read a budget curve that an earlier run wrote.

        Raises:
            LoadError: if the text isn't one.
        """
        data = parsed(text, MAX_BYTES, LoadError, "the budget curve")
        _check(
            isinstance(data, dict)
            and set(data) == {"format", "of", "points"}
            and data["format"] == FORMAT,
            f"this is no budget curve of the format {FORMAT}",
        )
        _check(
            isinstance(data["of"], dict) and isinstance(data["points"], list),
            "a budget curve has points",
        )
        return BudgetCurve(data["of"], tuple(map(_point, data["points"])))


def csv_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Write rows as CSV, with the names of the columns above them."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _point(value: Any) -> Point:
    _check(isinstance(value, dict) and set(value) == set(COLUMNS), "a point has other keys")
    _check(
        all(v is None or finite(v) for v in value.values()) and finite(value["asked"]),
        f"a point must hold numbers: {shown(str(value))}",
    )
    return Point(**value)


def _check(condition: bool, message: str) -> None:
    expect(condition, LoadError, message, "remove the folder to start over")


def shares(text: str) -> tuple[float, ...]:
    """Parse shares of the dense FLOPs: ``0.3..0.9`` (seven of them), ``0.3..0.9:13`` or ``0.3,0.5``.

    Raises:
        OptionError: if it can't be read.

    >>> shares("0.2..0.4:3")
    (0.2, 0.3, 0.4)
    """
    if ".." not in text:
        found = [parse_amount(part) for part in text.split(",")]
    else:
        ends, _, count = text.partition(":")
        first, last = (parse_amount(end) for end in ends.split("..", 1))
        if count and (not count.isdecimal() or not 2 <= int(count) <= 1000):
            raise OptionError(
                f"can't read the number of budgets {count!r}",
                hint="0.3..0.9:13",
                options=("flops",),
            )
        steps = int(count or _STEPS)
        found = [round(first + (last - first) * i / (steps - 1), 6) for i in range(steps)]
    if not all(0 < share <= 1 for share in found):
        raise OptionError(
            "budgets of a sweep are shares of the dense FLOPs, above 0, up to 1",
            hint="0.3..0.9, or 30%..90%",
            options=("flops",),
        )
    return tuple(sorted(set(found)))


def draw(curve: BudgetCurve, path: Path) -> None:
    """Draw a budget curve as a PNG picture.

    Raises:
        OutputError: without matplotlib.
    """
    try:
        figures = import_module("matplotlib.figure")
    except ImportError as error:
        raise OutputError(
            "a picture needs matplotlib",
            hint="pip install graphprune[plot], or leave the picture out",
            options=("plot",),
        ) from error
    rows = [
        (name, label)
        for name, label in (
            ("distortion", "predicted distortion"),
            ("latency", "predicted latency (ms)"),
            ("accuracy", "accuracy"),
        )
        if any(getattr(p, name) is not None for p in curve.points)
    ]
    figure = figures.Figure(figsize=(4.5, 2.6 * max(len(rows), 1)), layout="constrained")
    for number, (name, label) in enumerate(rows, 1):
        axes = figure.add_subplot(len(rows), 1, number)
        known = [p for p in curve.points if p.flops is not None and getattr(p, name) is not None]
        _plot(axes, [p.flops for p in known], [getattr(p, name) for p in known])
        axes.set(xlabel="FLOPs, share of dense", ylabel=label)
    figure.savefig(path, dpi=120, format="png", metadata={"Software": None})


def _plot(axes: Any, x: Sequence[float | None], y: Sequence[float]) -> None:
    axes.plot(x, y, marker="o", markersize=3)
    axes.grid(color="0.9")
