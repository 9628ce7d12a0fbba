"""What onnxruntime accepts beside the letter of the format is no fault of a model."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from graphprune.export.valid_onnx import check_valid

pytestmark = pytest.mark.onnx


def model(kind: str, **more: object) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 4]) for n in "xy"]
    made = helper.make_node(kind, ["x", "g"] if "Norm" in kind else ["x"], ["y"], **more)
    gain = helper.make_tensor("g", TensorProto.FLOAT, [4], [1.0] * 4)
    graph = helper.make_graph([made], "g", values[:1], values[1:], [gain])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("lacks", ["type", "shape"])
def test_an_output_without_type_or_shape(lacks: str) -> None:
    made = model("Relu")
    if lacks == "type":
        made.graph.output[0].ClearField("type")
    else:
        made.graph.output[0].type.tensor_type.ClearField("shape")
    before = made.SerializeToString()
    check_valid(made)
    assert made.SerializeToString() == before


@pytest.mark.parametrize("stated", [False, True])
def test_an_operator_of_onnxruntime_in_the_domain_of_onnx(*, stated: bool) -> None:
    made = model("SimplifiedLayerNormalization", axis=-1)
    if stated:
        made.graph.node[0].domain = ""
    before = made.SerializeToString()
    check_valid(made)
    assert made.SerializeToString() == before


@pytest.mark.parametrize("kind", ["NoSuchOperator", "Relu6"])
def test_another_unknown_operator_is_refused(kind: str) -> None:
    with pytest.raises(onnx.checker.ValidationError):
        check_valid(model(kind))
