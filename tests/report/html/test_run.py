"""The page of one run: what it says in words, and which charts it has."""

from __future__ import annotations

from typing import Any

import pytest

from graphprune.report.html import run
from graphprune.report.html.accuracies import Accuracies
from tests.report.html.samples import full

ALL = [
    *("coupling", "widths", "macs-before", "macs-after", "curves", "fits", "front", "accuracies")
]


def test_a_run_has_the_charts_that_there_is_something_for() -> None:
    accuracies = Accuracies("v", 0.9, {})
    assert [figure.name for figure in run.figures(full(), accuracies)] == ALL
    bare = full(layers=(), curves=(), recovery={}, search={})
    assert [figure.name for figure in run.figures(bare, None)] == ["coupling", "widths"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"budget": {**full().budget, "met": False}}, "the budget is missed"),
        (
            {"oracle": {"max_error": 1.0, "tolerance": 1e-9, "batches": [2]}},
            "cut program against masked original, float64: the error is above the tolerance",
        ),
        (
            {"onnx": {**full().onnx, "fp16_error": 1.0, "fp16_tolerance": 0.1}},
            "onnxruntime against cut program, float16: the error is above the tolerance",
        ),
    ],
)
def test_what_went_wrong_is_a_warning(changes: dict[str, Any], says: str) -> None:
    clean = {"unknown_operators": (), "inexact": ()}
    assert run.content(full(**clean), None)["warnings"] == []
    assert run.content(full(**clean, **changes), None)["warnings"] == [says]


def test_settings_are_those_of_the_run() -> None:
    assert [name for name, _ in run.settings(full())] == [
        *("score", "allocation", "calibration", "recovered by ls", "distilled", "accuracy"),
        "versions",
    ]
    bare = full(calibration={}, recovery={}, distilled={}, search={}, settings={})
    assert [name for name, _ in run.settings(bare)] == ["score", "allocation", "versions"]
    assert dict(run.settings(bare))["score"] == "unknown"


def test_a_group_counts_each_layer_on_either_side_once() -> None:
    touched = run.content(full(), None)["touched"]
    assert touched == {"stem": (4.48e6, 2.24e6), "block.a": (3.9e6, 1.87e6)}
