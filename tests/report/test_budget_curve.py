"""The points of a sweep: ranges, files and a picture."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from graphprune.errors import LoadError, OptionError, OutputError
from graphprune.report.budget_curve import COLUMNS, BudgetCurve, Point, draw, shares


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.3..0.9", (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)),
        ("50%..60%:2", (0.5, 0.6)),
        ("0.5", (0.5,)),
    ],
)
def test_ranges(text: str, found: tuple[float, ...]) -> None:
    assert shares(text) == found


@pytest.mark.parametrize("text", ["", "0.3..", "0.3..1.2", "0", "0.3..0.9:1", "0.3..0.9:x", "1G"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(OptionError):
        shares(text)


CURVE = BudgetCurve({"model": "sha256:0"}, (Point(0.1), Point(0.5, 0.49, 0.6, 1.25, None, 0.9)))


def test_a_point_takes_the_place_of_the_one_of_its_budget() -> None:
    found = CURVE.with_point(Point(0.3, 0.29)).with_point(Point(0.1, 0.09))
    assert [(p.asked, p.flops) for p in found.points] == [(0.1, 0.09), (0.3, 0.29), (0.5, 0.49)]
    assert len(CURVE.points) == 2


def test_a_budget_curve_comes_back_from_its_file() -> None:
    assert BudgetCurve.from_json(CURVE.to_json()) == CURVE
    assert json.loads(CURVE.to_json())["format"] == "graphprune.front/1"


def test_the_table_has_a_row_for_each_point_and_gaps_where_nothing_is_known() -> None:
    first, second = csv.DictReader(CURVE.to_csv().splitlines())
    assert tuple(first) == COLUMNS
    assert [*first.values()] == ["0.1", "", "", "", "", ""]
    assert [*second.values()] == ["0.5", "0.49", "0.6", "1.25", "", "0.9"]


@pytest.mark.parametrize(
    "change",
    [
        {"format": "graphprune.front/2"},
        {"of": []},
        {"points": {}},
        {"points": [{"asked": 0.5}]},
        {"points": [json.loads(CURVE.to_json())["points"][0] | {"asked": None}]},
        {"points": [json.loads(CURVE.to_json())["points"][0] | {"flops": "half"}]},
        {"more": 1},
    ],
)
def test_what_is_no_budget_curve_is_refused_with_the_way_out(change: dict[str, object]) -> None:
    with pytest.raises(LoadError) as failure:
        BudgetCurve.from_json(json.dumps(json.loads(CURVE.to_json()) | change))
    assert "remove the folder" in failure.value.hint


def test_a_picture_of_what_is_known(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for curve in (CURVE, BudgetCurve({})):
        draw(curve, tmp_path / "front.png")
        assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_way_round_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(OutputError, match="needs matplotlib") as failure:
        draw(CURVE, tmp_path / "front.png")
    assert failure.value.options == ("plot",)
    assert list(tmp_path.iterdir()) == []
