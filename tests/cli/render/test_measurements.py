"""What commands that measure print, of values made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphprune.cli import render
from graphprune.report.budget_curve import BudgetCurve, Point
from graphprune.report.html import Accuracies
from graphprune.workflow.comparison import Comparison, FileCheck
from tests.cli.render.helpers import lines

Captured = pytest.CaptureFixture[str]


def test_a_comparison_says_against_what(capsys: Captured) -> None:
    good, bad = (
        FileCheck("model.pt2", 1e-12, 1e-9, ""),
        FileCheck("model.onnx", None, 1e-4, "2 outputs"),
    )
    render.comparison(Comparison("Net", True, 3, False, (good, bad)))
    said = lines(capsys)
    assert said[0] == "file error against the masked original tolerance"
    assert said[1:3] == ["model.pt2 1.0e-12 1e-09 ok", "model.onnx - 1e-04 MISMATCH 2 outputs"]
    assert any(row.startswith("note: weights that aren't the original's: 3") for row in said)
    render.comparison(Comparison("Net", False, 3, True, (good,)))
    said = lines(capsys)
    assert said[0] == "file error against the original (no plan) with these weights tolerance"
    assert not any(row.startswith("note: ") for row in said)


def test_a_sweep_and_accuracies_show_what_is_known(capsys: Captured) -> None:
    render.budget_curve(
        BudgetCurve({}, (Point(0.1), Point(0.5, 0.49, 0.6, 1.25, 2.0, 0.9))), Path("out")
    )
    said = lines(capsys)
    assert said[1:3] == ["10.0% - - - - -", "50.0% 49.0% 60.0% 1.25 2 ms 90.00%"]
    assert said[-1] == "wrote out"
    render.accuracies({"a": Accuracies("val.npz", 0.975, {"noise": 0.8})})
    assert lines(capsys)[:2] == ["accuracy clean noise", "a 97.5% 80.0%"]
    unlike = {"a": Accuracies("x", 0.9, {"noise": 0.8}), "b": Accuracies("x", 0.7, {})}
    render.accuracies(unlike)
    assert lines(capsys)[1:3] == ["a 90.0% 80.0%", "b 70.0% -"]
