"""Nodes that choose rows by a stored condition, or move taps, between two layers that shrink."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.onnx_masks import cut_and_edited

pytestmark = pytest.mark.onnx

KEEP = np.array([1, 0, 1, 1, 0, 1, 1, 1, 0, 1, 0, 0], bool)


def chosen(axis: int, condition: np.ndarray) -> onnx.ModelProto:
    """``x`` through a convolution of 12 channels, a choice of rows, and another convolution."""
    draw, width = np.random.default_rng(0), int(condition.sum()) if axis == 1 else 12
    stored = {
        "w1": draw.normal(size=(12, 3, 3, 3)).astype(np.float32),
        "w2": draw.normal(size=(2, width, 1, 1)).astype(np.float32),
        "k": condition,
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1] * 4),
        helper.make_node("Compress", ["a", "k"], ["b"], axis=axis),
        helper.make_node("Conv", ["b", "w2"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "chosen",
        [value("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, k) for k, v in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize(
    ("axis", "condition"),
    [(1, KEEP), (1, KEEP[:7]), (2, KEEP[:8]), (-1, KEEP[:6])],
    ids=["channels", "fewer-than-channels", "rows", "columns"],
)
def test_channels_are_cut_through_a_choice_of_rows(
    axis: int, condition: np.ndarray, tmp_path: Path
) -> None:
    before = chosen(axis, condition)
    after = cut_and_edited(before, tmp_path, flops=0.6)
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.graph.node]
    assert after.graph.initializer[0].dims[0] < 12
