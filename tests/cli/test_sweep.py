"""``graphprune sweep`` and ``graphprune profile``: files, what is refused, and going on after a kill."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphprune.report.budget_curve import Point
from graphprune.workflow import budget_sweep
from tests.cli.conftest import DIGITS, Ran

RANGE = "0.5,0.7,0.9"


@pytest.fixture
def sweep(cli: Callable[..., Ran], small: Sequence[str]) -> Callable[..., Ran]:
    def call(out: Path, *args: object, flops: str = RANGE) -> Ran:
        return cli("sweep", *small, "--flops", flops, "-o", out, "--no-plot", *args)

    return call


def rows(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "front.csv").read_text().splitlines()))


def test_the_table_and_the_files(sweep: Callable[..., Ran], tmp_path: Path) -> None:
    ran = sweep(tmp_path / "out", "--json")
    assert ran.code == 0
    points = json.loads(ran.out)["points"]
    assert json.loads((tmp_path / "out" / "front.json").read_text()) == json.loads(ran.out)
    assert [p["asked"] for p in points] == [0.5, 0.7, 0.9]
    assert all(p["flops"] <= p["asked"] for p in points)
    lost = [p["distortion"] for p in points]
    assert lost == sorted(lost, reverse=True)
    assert [float(row["flops"]) for row in rows(tmp_path / "out")] == [p["flops"] for p in points]
    assert {row["accuracy"] for row in rows(tmp_path / "out")} == {""}


def test_a_budget_that_no_plan_meets_is_a_row(sweep: Callable[..., Ran], tmp_path: Path) -> None:
    assert sweep(tmp_path / "out", flops="0.0001,0.5").code == 0
    first, second = rows(tmp_path / "out")
    assert first["flops"] == ""
    assert second["flops"]


def test_a_killed_sweep_goes_on(
    sweep: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[float]] = []
    whole = budget_sweep.sweep

    def watched(
        model: Any,
        inputs: Any,
        budgets: Sequence[float],
        *,
        tell: Callable[[Point], object],
        **how: Any,
    ) -> tuple[Point, ...]:
        asked.append(list(budgets))

        def one_then_killed(point: Point) -> None:
            tell(point)
            if len(asked) == 1:
                raise KeyboardInterrupt

        return whole(model, inputs, budgets, tell=one_then_killed, **how)

    monkeypatch.setattr(budget_sweep, "sweep", watched)
    assert sweep(tmp_path / "out").code == 130
    assert sweep(tmp_path / "out").code == 0
    assert sweep(tmp_path / "out").code == 0
    assert asked == [[0.5, 0.7, 0.9], [0.7, 0.9]]  # the third run had nothing left to do
    assert len(rows(tmp_path / "out")) == 3


def test_other_options_do_not_go_on(sweep: Callable[..., Ran], tmp_path: Path) -> None:
    assert sweep(tmp_path / "out", flops="0.7").code == 0
    refused = sweep(tmp_path / "out", "--score", "l1", flops="0.7")
    assert refused.code == 2
    assert "with other options" in refused.err
    assert sweep(tmp_path / "out", "--score", "l1", "--force", flops="0.7").code == 0


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "no",
        '{"format": "graphprune.front/1"}',
        '{"format": "graphprune.front/1", "of": {}, "points": [{}]}',
    ],
)
def test_a_foreign_file_in_its_place_is_refused(
    sweep: Callable[..., Ran], tmp_path: Path, text: str
) -> None:
    (tmp_path / "front.json").write_text(text)
    assert sweep(tmp_path).code == 2
    assert (tmp_path / "front.json").read_text() == text


def test_a_picture(cli: Callable[..., Ran], small: Sequence[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert cli("sweep", *small, "--flops", "0.6..0.8:2", "-o", tmp_path).code == 0
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")


def test_accuracy_on_labelled_data(cli: Callable[..., Ran], tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).random((20, 1, 8, 8), np.float32), np.arange(20) % 10
    np.savez(tmp_path / "val.npz", x=x, y=y)
    ran = cli(
        "sweep",
        *DIGITS,
        "--flops",
        "0.8",
        "-o",
        tmp_path / "out",
        "--no-plot",
        "--val",
        tmp_path / "val.npz",
    )
    assert ran.code == 0
    (row,) = rows(tmp_path / "out")
    assert 0 <= float(row["accuracy"]) <= 1
