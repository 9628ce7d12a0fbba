"""Poolings that are undone, between two convolutions whose channels are cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from graphprune.loading.onnx import import_onnx
from tests.loading.onnx.helpers import saved
from tests.onnx_masks import cut_and_edited

pytestmark = pytest.mark.onnx

HALVES: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
EACH = {"kernel_shape": [2], "strides": [2]}


def unpooled(
    dims: list[Any], pool: dict[str, Any], undo: dict[str, Any], sizes: list[int] | None = None
) -> onnx.ModelProto:
    """``x`` through a convolution, a pooling, its reverse, and another convolution."""
    draw, rank = np.random.default_rng(0), len(dims) - 2
    kernel = [3] * rank
    stored = {
        "w1": draw.normal(size=(12, 3, *kernel)).astype(np.float32),
        "w2": draw.normal(size=(2, 12, *kernel)).astype(np.float32),
    } | ({} if sizes is None else {"sizes": np.array(sizes)})
    pads = {"pads": [1] * 2 * rank}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], **pads),
        helper.make_node("MaxPool", ["a"], ["p", "places"], **pool),
        helper.make_node("Relu", ["p"], ["r"]),
        helper.make_node("MaxUnpool", ["r", "places", *["sizes"] * bool(sizes)], ["u"], **undo),
        helper.make_node("Conv", ["u", "w2"], ["y"], **pads),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "unpooled",
        [value("x", TensorProto.FLOAT, dims)],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, k) for k, v in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


MODELS = {
    "square": unpooled(["N", 3, 8, 6], HALVES, HALVES),
    "open-sizes": unpooled(["N", 3, "h", "w"], HALVES, HALVES),
    "steps": unpooled(["N", 3, 8], EACH, EACH),
    "padded": unpooled(
        ["N", 3, 9, 9],
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4},
    ),
    "sizes-given": unpooled([2, 3, 9, 7], HALVES, HALVES, [2, 12, 9, 7]),
}


@pytest.mark.parametrize("kind", MODELS)
def test_channels_are_cut_through_a_pooling_that_is_undone(kind: str, tmp_path: Path) -> None:
    before = MODELS[kind]
    inputs = ["1x3x8x6"] if kind == "open-sizes" else []
    after = cut_and_edited(before, tmp_path, flops=0.5, inputs=inputs)
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.graph.node]
    assert after.graph.initializer[0].dims[0] < 12


def test_places_of_a_value_of_another_size_stay_whole(tmp_path: Path) -> None:
    """onnxruntime counts them through all of the result, which is larger."""
    model = unpooled([2, 3, 8, 8], HALVES, HALVES, [2, 12, 10, 10])
    reasons = import_onnx(saved(model, tmp_path)).file.whole
    assert any("MaxUnpool" in reason for reason in reasons.values())
