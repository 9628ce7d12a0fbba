"""Charts: the numbers in them are those of the report."""

from __future__ import annotations

from typing import Any

import pytest

from graphprune.report.html import charts
from graphprune.report.html.accuracies import Accuracies
from graphprune.report.report import DistortionCurve, GroupWidth
from tests.report.html.samples import full


def test_every_group_has_a_bar_before_and_after() -> None:
    before, after = charts.widths(full()).data
    assert before["x"] == [16, 32]
    assert after["x"] == [12, 8]
    assert before["text"] == ["12 / 16", "8 / 32"]


def test_only_the_first_groups_of_many_are_drawn() -> None:
    groups = tuple(GroupWidth(f"g{i}", 8, 4, ()) for i in range(charts.MOST + 3))
    assert len(charts.widths(full(groups=groups)).data[0]["x"]) == charts.MOST


def test_curves_are_drawn_by_the_share_kept_with_the_choice_marked() -> None:
    *lines, marks = charts.curves(full()).data
    assert [line["name"] for line in lines] == ["stem", "block.a"]
    assert lines[0]["x"] == [0, 0.75, 1]
    assert lines[0]["y"] == [3.0, 0.4, 0.0]
    assert (marks["x"], marks["y"]) == ([0.75, 0.25], [0.4, 0.3])


def test_a_curve_of_a_group_that_is_not_listed_is_left_out() -> None:
    stray = (*full().curves, DistortionCurve("nobody", (0, 1), (1.0, 0.0)))
    assert len(charts.curves(full(curves=stray)).data) == 3


def test_what_is_left_of_each_layers_error() -> None:
    (bars,) = charts.fits(full()).data
    assert bars["x"] == [0.25, 1.0]
    none = {**full().recovery, "fits": ({**full().recovery["fits"][0], "before": 0.0},)}
    assert charts.fits(full(recovery=none)).data[0]["x"] == []


def test_a_front_joins_what_nothing_beats() -> None:
    points: list[dict[str, Any]] = [
        {"cost": 0.5, "accuracy": 0.9, "holds": True},
        {"cost": 0.6, "accuracy": 0.8, "holds": False},  # dearer and worse
        {"cost": 0.3, "accuracy": 0.7, "holds": False},
        {"cost": None, "accuracy": None},
    ]
    line, marks = charts.pareto_front(points).data
    assert (line["x"], line["y"]) == ([0.3, 0.5], [0.7, 0.9])
    assert marks["x"] == [0.5, 0.6, 0.3]
    assert marks["marker"]["symbol"] == ["circle", "x", "x"]


@pytest.mark.parametrize(("least", "count"), [(None, 0), (0.9, 1)])
def test_the_accuracy_that_is_asked_for_is_a_line(least: float | None, count: int) -> None:
    shapes = charts.pareto_front([{"cost": 0.5, "accuracy": 0.9}], least=least).layout["shapes"]
    assert [shape["y0"] for shape in shapes] == [least] * count


def test_runs_stand_beside_each_other_with_gaps_where_nothing_was_measured() -> None:
    measured = {"a": Accuracies("v", 0.9, {"noise": 0.8}), "b": Accuracies("v", 0.7, {"blur": 0.6})}
    one, other = charts.accuracies(measured).data
    assert one["x"] == other["x"] == ["clean", "noise", "blur"]
    assert (one["y"], other["y"]) == ([0.9, 0.8, None], [0.7, None, 0.6])
    costs = charts.costs({"a": full(), "b": full()}).data
    assert costs[0]["y"] == pytest.approx([0.5, 102_500 / 175_500, 410 / 702])
