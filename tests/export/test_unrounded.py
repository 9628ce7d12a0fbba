"""Quantised values without steps, in programs and ONNX models alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from graphprune.export.check import OnnxDifferenceError, check_onnx
from graphprune.export.run_onnx import run_onnx
from graphprune.export.unrounded import rounding_calls, unrounded, unrounded_onnx
from graphprune.ir.program import unlift
from graphprune.loading.onnx import import_onnx
from tests.loading.onnx.helpers import chain, saved

pytestmark = pytest.mark.onnx

NEARLY_ONE = 1 + 3e-6
"""Lets a value between two steps fall to the other side."""


def pair(
    before: str, after: str, zero: np.generic | None, scale: Any = 0.5, **how: Any
) -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    """Nodes that quantise a value and take it back, and what they read."""
    weights = {f"{after}_scale": np.float32(scale)} | (
        {} if zero is None else {f"{after}_zero": zero}
    )
    quantize = helper.make_node("QuantizeLinear", [before, *weights], [f"{after}_q"], **how)
    back = helper.make_node("DequantizeLinear", [f"{after}_q", *weights], [after], **how)
    return [quantize, back], weights


def on_steps(
    zero: np.generic | None, last: str, factor: float = 1.0, scale: float = 0.5
) -> onnx.ModelProto:
    """Values on ends of steps and in their middles, times a factor, which are quantised then."""
    nodes, weights = pair("f", "d", zero, scale)
    weights |= {"four": np.float32(4), "factor": np.float32(factor)}
    before = [
        helper.make_node("Mul", ["x", "four"], ["a"]),
        helper.make_node("Floor", ["a"], ["b"]),
        helper.make_node("Div", ["b", "four"], ["c"]),
        helper.make_node("Mul", ["c", "factor"], ["f"]),
    ]
    return chain(
        *before, *nodes, helper.make_node(last, ["d"], ["y"]), weights=weights, dims=(8, 50)
    )


@pytest.mark.parametrize("zero", [None, np.uint8(100), np.int8(-3)])
def test_both_sides_compute_the_same_and_do_not_round(
    zero: np.generic | None, tmp_path: Path
) -> None:
    nodes, weights = pair("x", "a", zero)
    model = chain(*nodes, helper.make_node("Relu", ["a"], ["y"]), weights=weights, dims=(1, 5))
    x = torch.tensor([[-40.0, -0.3, 0.3, 0.6, 70.0]])
    program = import_onnx(saved(model, tmp_path)).program
    exact = unrounded_onnx(model.SerializeToString())
    assert exact is not None
    (got,), own = run_onnx(exact, [x]), unrounded(unlift(program))(x)
    torch.testing.assert_close(got, own)
    assert got[0, 2:4].tolist() == pytest.approx([0.3 - 0.023, 0.6 + 0.037], abs=1e-3)


def test_integers_that_are_laid_out_anew_are_floats_then(tmp_path: Path) -> None:
    (quantize, back), weights = pair("x", "y", np.int8(3))
    moved = helper.make_node("Transpose", ["y_q"], ["moved"], perm=[1, 0])
    back.input[0] = "moved"
    model = chain(quantize, moved, back, weights=weights)
    program = import_onnx(saved(model, tmp_path)).program
    rounds, casts = rounding_calls(unlift(program).graph)
    assert len(rounds) == 1
    assert casts
    exact = unrounded_onnx(model.SerializeToString())
    assert exact is not None
    x = torch.rand(2, 3)
    assert (run_onnx(exact, [x])[0] - x.T).abs().max() < 0.05
    torch.testing.assert_close(run_onnx(exact, [x])[0], unrounded(unlift(program))(x))


def test_a_scale_for_each_row_or_a_node_that_needs_integers_is_not_read() -> None:
    nodes, weights = pair("x", "y", np.int8([0, 1, 2]), [1, 2, 3], axis=1)
    assert unrounded_onnx(chain(*nodes, weights=weights).SerializeToString()) is None
    (quantize, _), weights = pair("x", "y", np.uint8(3))
    added = helper.make_node("BitwiseNot", ["y_q"], ["y"])
    assert unrounded_onnx(chain(quantize, added, weights=weights).SerializeToString()) is None


@pytest.mark.parametrize("zero", [None, np.int8(4)])
@pytest.mark.parametrize("last", ["Tanh", "Sigmoid"])
def test_values_that_fall_to_the_other_side_of_a_step_are_no_difference(
    zero: np.generic | None, last: str, tmp_path: Path
) -> None:
    program = import_onnx(saved(on_steps(zero, last), tmp_path)).program
    other = on_steps(zero, last, NEARLY_ONE)
    x = torch.randn(8, 50)
    got, own = run_onnx(other.SerializeToString(), [x])[0], program.module()(x)
    assert (got - own).abs().max() > 0.1
    assert check_onnx(other.SerializeToString(), program).max_error < 1e-5
    with pytest.raises(OnnxDifferenceError):
        check_onnx(on_steps(zero, last, scale=0.55).SerializeToString(), program)
