"""The page of several runs: what it compares."""

from __future__ import annotations

from graphprune.report.html.accuracies import Accuracies
from graphprune.report.html.comparison import content, figures
from graphprune.report.html.run import LISTED
from graphprune.report.report import GroupWidth, Report
from tests.report.html.samples import full


def names(reports: dict[str, Report], measured: dict[str, Accuracies]) -> list[str]:
    return [figure.name for figure in figures(reports, measured)]


def test_there_are_charts_of_what_is_known() -> None:
    bare = full(search={})
    assert names({"a": bare}, {}) == ["costs"]
    assert names({"a": full(), "b": bare}, {}) == ["costs", "front"]
    measured = {"b": Accuracies("v", 0.9, {})}
    assert names({"a": bare, "b": bare}, measured) == ["costs", "accuracies", "front"]


def test_what_is_measured_now_goes_before_what_a_search_found() -> None:
    shown = content({"a": full(), "b": full()}, {"a": Accuracies("v", 0.5, {})})
    assert shown["accuracy"] == {"a": 0.5, "b": 0.975}
    assert shown["sources"] == ["v"]


def test_groups_of_all_runs_are_listed_once_up_to_a_bound() -> None:
    more = tuple(GroupWidth(f"g{i}", 8, 4, ()) for i in range(LISTED))
    shown = content({"a": full(), "b": full(groups=(*full().groups, *more))}, {})
    assert shown["groups"][:3] == ["stem", "block.a", "g0"]
    assert (len(shown["groups"]), shown["more"]) == (LISTED, 2)
    assert shown["widths"]["a"]["stem"].after == 12


def test_runs_of_different_models_and_failed_checks_are_noticed() -> None:
    wrong = full(model="Other", oracle={"max_error": 1.0, "tolerance": 1e-9, "batches": [2]})
    shown = content({"a": full(), "b": wrong}, {})
    assert not shown["same"]
    assert shown["wrong"] == {"a": 0, "b": 1}
    assert content({"a": full(), "b": full()}, {})["same"]
