"""Which of several checkpoints prunes best."""

from __future__ import annotations

import csv
import json

import pytest

from graphprune.report.budget_curve import BudgetCurve, Point
from graphprune.report.checkpoint_curves import best, compared_by, to_csv, to_json


def curves(
    **values: tuple[tuple[float, float | None, float | None], ...],
) -> dict[str, BudgetCurve]:
    """Of budgets, distortions and accuracies."""
    return {
        name: BudgetCurve({}, tuple(Point(a, a, a, d, None, acc) for a, d, acc in points))
        for name, points in values.items()
    }


@pytest.mark.parametrize(
    ("found", "figure", "want"),
    [
        (curves(a=((0.5, 2.0, None),), b=((0.5, 1.0, None),)), "distortion", {0.5: "b"}),
        (curves(a=((0.5, 2.0, 0.9),), b=((0.5, 1.0, 0.8),)), "accuracy", {0.5: "a"}),
        (
            curves(a=((0.3, None, None), (0.5, 3.0, None)), b=((0.3, 9.0, None), (0.5, 4.0, None))),
            "distortion",
            {0.3: "b", 0.5: "a"},
        ),
        (curves(a=((0.1, None, None),), b=((0.1, None, None),)), "distortion", {}),
        (curves(a=((0.5, 1.0, 0.7),), b=((0.5, 1.0, 0.7),)), "accuracy", {0.5: "a"}),
    ],
)
def test_the_best_is_the_most_accurate_or_the_least_distorted(
    found: dict[str, BudgetCurve], figure: str, want: dict[float, str]
) -> None:
    assert compared_by(found) == figure
    assert best(found) == want


def test_the_table_and_the_document_hold_all_points() -> None:
    found = curves(a=((0.3, 2.0, 0.5), (0.5, 1.0, 0.6)), b=((0.3, 3.0, 0.4),))
    rows = list(csv.DictReader(to_csv(found).splitlines()))
    assert [(r["checkpoint"], r["asked"], r["accuracy"]) for r in rows] == [
        ("a", "0.3", "0.5"),
        ("a", "0.5", "0.6"),
        ("b", "0.3", "0.4"),
    ]
    document = json.loads(to_json(found))
    assert document["format"] == "graphprune.fronts/1"
    assert [p["accuracy"] for p in document["checkpoints"]["a"]["points"]] == [0.5, 0.6]
