"""Charts of costs and accuracies: the numbers in them are those of the reports."""

from __future__ import annotations

from typing import Any

import pytest

from graphprune.report.html import tradeoff_charts
from graphprune.report.html.accuracies import Accuracies
from tests.report.html.samples import full


def test_a_front_joins_what_nothing_beats() -> None:
    points: list[dict[str, Any]] = [
        {"cost": 0.5, "accuracy": 0.9, "holds": True},
        {"cost": 0.6, "accuracy": 0.8, "holds": False},  # dearer and worse
        {"cost": 0.3, "accuracy": 0.7, "holds": False},
        {"cost": None, "accuracy": None},
    ]
    line, marks = tradeoff_charts.pareto_front(points).data
    assert (line["x"], line["y"]) == ([0.3, 0.5], [0.7, 0.9])
    assert marks["x"] == [0.5, 0.6, 0.3]
    assert marks["marker"]["symbol"] == ["circle", "x", "x"]


@pytest.mark.parametrize(("least", "count"), [(None, 0), (0.9, 1)])
def test_the_accuracy_that_is_asked_for_is_a_line(least: float | None, count: int) -> None:
    shapes = tradeoff_charts.pareto_front([{"cost": 0.5, "accuracy": 0.9}], least=least).layout[
        "shapes"
    ]
    assert [shape["y0"] for shape in shapes] == [least] * count


def test_runs_stand_beside_each_other_with_gaps_where_nothing_was_measured() -> None:
    measured = {"a": Accuracies("v", 0.9, {"noise": 0.8}), "b": Accuracies("v", 0.7, {"blur": 0.6})}
    one, other = tradeoff_charts.accuracies(measured).data
    assert one["x"] == other["x"] == ["clean", "noise", "blur"]
    assert (one["y"], other["y"]) == ([0.9, 0.8, None], [0.7, None, 0.6])
    costs = tradeoff_charts.costs({"a": full(), "b": full()}).data
    assert costs[0]["y"] == pytest.approx([0.5, 102_500 / 175_500, 410 / 702])
