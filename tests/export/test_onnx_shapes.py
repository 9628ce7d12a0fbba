"""Shapes of values inside an ONNX model, also where sizes are stated as -1."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from graphprune.export.onnx_shapes import infer_onnx_shapes


@pytest.mark.parametrize("size", [-1, 5, "n"])
def test_a_slice_of_an_open_axis(size: int | str) -> None:
    numbers = {"start": 0, "end": 1, "axis": 0}
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["x"], ["r"]),
            helper.make_node("Slice", ["r", *numbers], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [size, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [size, 3])],
        [numpy_helper.from_array(np.array([n]), name) for name, n in numbers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    before = model.SerializeToString()
    (inside,) = infer_onnx_shapes(model).graph.value_info
    first, second = inside.type.tensor_type.shape.dim
    assert (first.dim_value, second.dim_value) == (5 if size == 5 else 0, 3)
    assert model.SerializeToString() == before
