"""Quantised files held against the masked original where values fall to the other side of a step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import graphprune as gp
from graphprune.loading import load
from graphprune.workflow.compare_files import compare
from tests.export.test_unrounded import NEARLY_ONE, pair
from tests.loading.onnx.helpers import chain

pytestmark = pytest.mark.onnx


def net(zero: np.generic | None, factor: float = 1.0, scale: float = 0.5) -> onnx.ModelProto:
    """Two layers of whole numbers and halves, with quantised values between them that lie on steps."""
    draw = np.random.default_rng(0)
    nodes, weights = pair("s", "d", zero, scale)
    weights |= {
        "a": draw.integers(-2, 3, (6, 16)).astype(np.float32),
        "b": draw.standard_normal((16, 4)).astype(np.float32),
        "four": np.float32(4),
        "factor": np.float32(factor),
    }
    made = [
        helper.make_node("Floor", ["x"], ["f"]),
        helper.make_node("MatMul", ["f", "a"], ["h"]),
        helper.make_node("Div", ["h", "four"], ["q"]),
        helper.make_node("Mul", ["q", "factor"], ["s"]),
        *nodes,
        helper.make_node("MatMul", ["d", "b"], ["y"]),
    ]
    return chain(*made, weights=weights, dims=(9, 6))


@pytest.mark.parametrize("zero", [None, np.int8(4)])
def test_a_file_whose_values_fall_to_the_other_side_is_right_and_one_of_another_scale_is_not(
    zero: np.generic | None, tmp_path: Path
) -> None:
    onnx.save(net(zero), tmp_path / "net.onnx")
    dense = load(tmp_path / "net.onnx").dense
    result = gp.compress(dense, flops=0.7, score="random")
    (kept,) = (group.keep for group in result.plan.groups)

    def check(factor: float, scale: float) -> float | None:
        small = net(zero, factor, scale)
        for tensor, axis in zip(small.graph.initializer[-4:-2], (1, 0), strict=True):
            array = onnx.numpy_helper.to_array(tensor).take(kept, axis)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
        onnx.save(small, tmp_path / "small.onnx")
        found = compare(dense, (), tmp_path / "small.onnx", result.plan)
        (each,) = found.checks
        assert found.ok == (each.max_error is not None and each.max_error <= each.tolerance)
        return each.max_error if found.ok else None

    exact, other = check(1.0, 0.5), check(NEARLY_ONE, 0.5)
    assert exact is not None
    assert other is not None
    assert other < 1e-4
    assert check(1.0, 0.55) is None
