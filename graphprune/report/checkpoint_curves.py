"""Compare what several checkpoints of one architecture lose at the same budgets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from .budget_curve import COLUMNS, BudgetCurve, Point, csv_table

__all__ = ["FORMAT", "best", "compared_by", "to_csv", "to_json"]

FORMAT = "graphprune.fronts/1"

Curves = Mapping[str, BudgetCurve]


def to_csv(curves: Curves) -> str:
    """Write a table with one row for each checkpoint and budget."""
    rows = (
        {"checkpoint": name} | asdict(point)
        for name, curve in curves.items()
        for point in curve.points
    )
    return csv_table(("checkpoint", *COLUMNS), rows)


def to_json(curves: Curves) -> str:
    """Write the curves by checkpoint, as one JSON document with a ``format`` key."""
    found = {name: asdict(curve) for name, curve in curves.items()}
    return json.dumps({"format": FORMAT, "checkpoints": found}, indent=1) + "\n"


def compared_by(curves: Curves) -> str:
    """Name the figure that checkpoints are compared by: the accuracy where it was measured, or the distortion."""
    points = [point for curve in curves.values() for point in curve.points]
    measured = any(point.accuracy is not None for point in points)
    return "accuracy" if measured else "distortion"


def best(curves: Curves) -> dict[float, str]:
    """Find the checkpoint that is best at each budget; budgets that no checkpoint meets are left out."""
    figure = compared_by(curves)
    found: dict[float, dict[str, float]] = {}
    for name, curve in curves.items():
        for point in curve.points:
            if (value := _value(point, figure)) is not None:
                found.setdefault(point.asked, {})[name] = value
    choose = max if figure == "accuracy" else min
    return {
        asked: choose(values, key=values.__getitem__) for asked, values in sorted(found.items())
    }


def _value(point: Point, figure: str) -> float | None:
    value: float | None = getattr(point, figure)
    return value
