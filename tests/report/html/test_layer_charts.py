"""Charts: the numbers in them are those of the report."""

from __future__ import annotations

from graphprune.report.html import layer_charts
from graphprune.report.report import DistortionCurve, GroupWidth
from tests.report.html.samples import full


def test_every_group_has_a_bar_before_and_after() -> None:
    before, after = layer_charts.widths(full()).data
    assert before["x"] == [16, 32]
    assert after["x"] == [12, 8]
    assert before["text"] == ["12 / 16", "8 / 32"]


def test_only_the_first_groups_of_many_are_drawn() -> None:
    groups = tuple(GroupWidth(f"g{i}", 8, 4, ()) for i in range(layer_charts.MOST + 3))
    assert len(layer_charts.widths(full(groups=groups)).data[0]["x"]) == layer_charts.MOST


def test_curves_are_drawn_by_the_share_kept_with_the_choice_marked() -> None:
    *lines, marks = layer_charts.curves(full()).data
    assert [line["name"] for line in lines] == ["stem", "block.a"]
    assert lines[0]["x"] == [0, 0.75, 1]
    assert lines[0]["y"] == [3.0, 0.4, 0.0]
    assert (marks["x"], marks["y"]) == ([0.75, 0.25], [0.4, 0.3])


def test_a_curve_of_a_group_that_is_not_listed_is_left_out() -> None:
    stray = (*full().curves, DistortionCurve("nobody", (0, 1), (1.0, 0.0)))
    assert len(layer_charts.curves(full(curves=stray)).data) == 3


def test_what_is_left_of_each_layers_error() -> None:
    (bars,) = layer_charts.fits(full()).data
    assert bars["x"] == [0.25, 1.0]
    none = {**full().recovery, "fits": ({**full().recovery["fits"][0], "before": 0.0},)}
    assert layer_charts.fits(full(recovery=none)).data[0]["x"] == []
