"""The chain of proofs: each link with its inputs, tolerance and what float32 loses."""

from __future__ import annotations

from graphprune.report.checks import checks
from tests.report.html.samples import full


def test_every_link_has_a_verdict_and_says_on_what() -> None:
    first, cut, own, onnx = checks(full())
    assert [check.ok for check in (first, cut, own, onnx)] == [True] * 4
    assert (first.what, first.error, first.tolerance) == ("dense program against Net", 0.0, 1e-4)
    assert first.inputs == "like the examples, batches of 2 and 3"
    assert (cut.error, cut.tolerance) == (1.4e-15, 1e-9)
    assert cut.inputs == "random, batches of 2 and 3; then with perturbed weights"
    assert own.inputs == "the same"
    assert onnx.more == "10 BatchNorm calls, 0 after folding"


def test_a_file_is_compared_in_onnxruntime_by_what_float32_loses() -> None:
    traced = {
        "max_error": 3e-4, "tolerance": 5e-4, "rounding": 5e-5, "batches": [1],
        "reference": "file", "note": "",
    }  # fmt: skip
    first, *_ = checks(full(traced=traced))
    assert (first.what, first.ok) == ("dense program against onnxruntime", True)
    assert (first.rounding, first.inputs) == (5e-5, "like the examples, batch of 1")


def test_what_was_not_compared_says_why() -> None:
    eager = {"own_class": False, "reason": "net.py:8 sizes", "max_error": None}
    *_, own, onnx = checks(full(eager=eager, onnx={}, traced={}))
    assert (own.ok, own.more) == (None, "the trainable model is a GraphModule: net.py:8 sizes")
    assert (onnx.ok, onnx.more) == (None, "no ONNX file was written")


def test_batchnorm_that_stays_is_not_called_folded() -> None:
    *_, onnx = checks(full(batchnorm={"before": 3, "after": 3}))
    assert onnx.more == ""
