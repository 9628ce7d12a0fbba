"""What a compression and a search print, of values made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphprune.cli import render
from graphprune.workflow.accuracy_search import Probe
from tests.cli.render.helpers import lines
from tests.report.html.samples import full

Captured = pytest.CaptureFixture[str]

ORACLE = "random, batches of 2 and 3; then with perturbed weights"


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
        "dense program against Net 0.0e+00 1e-04 ok, like the examples, batches of 2 and 3",
        f"cut program against masked original, float64 1.4e-15 1e-09 ok, {ORACLE}",
        "Net against cut program, float64 0.0e+00 1e-09 ok, the same",
        "onnxruntime against cut program 3.6e-07 1e-04 ok, like the examples, batches of 2 and 3",
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
    assert (
        "cut program against masked original, float64 5.0e-01 1e-09 WRONG, random, batch of 2; "
        "then with perturbed weights"
    ) in said
    assert "the trainable model is a GraphModule: net.py:8 sizes" in said
    assert said[-1] == "nothing was written"


def test_probes_stand_in_columns(capsys: Captured) -> None:
    render.probe(Probe(0.5, 0.49, 0.975, 0.005, holds=True))
    render.probe(Probe(0.1))
    first, second = capsys.readouterr().err.splitlines()
    assert first.split() == [
        *("budget", "50.0%", "cost", "49.0%", "accuracy", "97.50%", "drop", "0.50%", "holds")
    ]
    assert second.split() == ["budget", "10.0%", "-", "-", "-", "no", "plan"]
    assert len(first) == len(second)
