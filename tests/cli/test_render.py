"""What the commands print, of values made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from graphprune.analysis.why import ExplanationStep
from graphprune.cli import render
from graphprune.errors import VerifyError
from graphprune.report.budget_curve import Front, Point
from graphprune.report.html import Accuracies
from graphprune.workflow.accuracy_search import Probe
from graphprune.workflow.compare_files import Check, Comparison
from tests.report.html.samples import full

Captured = pytest.CaptureFixture[str]


def lines(capsys: Captured) -> list[str]:
    """What stands on stdout, with single spaces."""
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_a_run_with_all_that_there_is_to_say(capsys: Captured, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}")
    render.report(full(seconds={"trace": 1.25}), tmp_path)
    said = lines(capsys)
    for row in (
        "MACs 4.48 M 2.24 M -50.0% target <= 50.0% met",
        "file bytes 726.6 K 437 K -39.9% net.pt -> model.pt",
        "BatchNorm calls 10 0 folded in the ONNX file",
        "block.a 32 8 -75.0%",
        "3 10.0% model input x placeholder stem.weight:1",
        "aten.bucketize.Tensor net.py:14 3.0%",
        "block.a aten.layer_norm.default net.py:9",
        "cut against masked original, float64 1.4e-15 1e-09 ok, batches of 2 and 3",
        "Net against cut program, float64 0.0e+00 1e-09 ok",
        "onnxruntime against PyTorch 3.6e-07 1e-04 ok",
        "allocation: dp, distortion 1.854, certified gap 0.21%",
        "accuracy: dense 98.00%, this one 97.50%, allowed drop 1.00%; tried:",
        "budget 10.0% - - - no plan",
        "note: calibration was short",
        "seconds: trace 1.2",
        f"wrote {tmp_path}: model.pt (437 KB), model.onnx (419 KB), report.json",
    ):
        assert row in said


def test_a_wrong_check_and_a_class_that_did_not_come_back_are_seen(capsys: Captured) -> None:
    oracle = {"max_error": 0.5, "tolerance": 1e-9, "batches": [2]}
    eager = {"own_class": False, "reason": "net.py:8 sizes", "max_error": None}
    render.report(full(oracle=oracle, eager=eager), None)
    said = lines(capsys)
    assert "cut against masked original, float64 5.0e-01 1e-09 WRONG, batches of 2" in said
    assert "the trainable model is a GraphModule: net.py:8 sizes" in said
    assert said[-1] == "nothing was written"


def test_a_chain_is_a_table_or_a_document(capsys: Captured) -> None:
    steps = (ExplanationStep("couples", "aten.add.Tensor", "net.py:3"),)
    render.chain("a", steps, as_json=False)
    assert lines(capsys)[:2] == ["a operator where", "couples aten.add.Tensor net.py:3"]
    render.chain("a", steps, as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "format": "graphprune.why/1",
        "name": "a",
        "steps": [{"says": "couples", "operator": "aten.add.Tensor", "where": "net.py:3"}],
    }


def test_errors_go_to_stderr(capsys: Captured) -> None:
    render.failure(VerifyError("it differs", where="net.py:7", hint="report it"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error[GP007]: it differs (net.py:7)\n  hint: report it\n"
    render.bug(ZeroDivisionError("ours"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[0] == "ZeroDivisionError: ours"


def test_probes_stand_in_columns(capsys: Captured) -> None:
    render.probe(Probe(0.5, 0.49, 0.975, 0.005, holds=True))
    render.probe(Probe(0.1))
    first, second = capsys.readouterr().err.splitlines()
    assert first.split() == [
        *("budget", "50.0%", "cost", "49.0%", "accuracy", "97.50%", "drop", "0.50%", "holds")
    ]
    assert second.split() == ["budget", "10.0%", "-", "-", "-", "no", "plan"]
    assert len(first) == len(second)


def test_a_comparison_says_against_what(capsys: Captured) -> None:
    good, bad = Check("model.pt2", 1e-12, 1e-9, ""), Check("model.onnx", None, 1e-4, "2 outputs")
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
    render.front(Front({}, (Point(0.1), Point(0.5, 0.49, 0.6, 1.25, 2.0, 0.9))), Path("out"))
    said = lines(capsys)
    assert said[1:3] == ["10.0% - - - - -", "50.0% 49.0% 60.0% 1.25 2 ms 90.00%"]
    assert said[-1] == "wrote out"
    render.accuracies({"a": Accuracies("val.npz", 0.975, {"noise": 0.8})})
    assert lines(capsys)[:2] == ["accuracy clean noise", "a 97.5% 80.0%"]
