"""Local functions: their calls stay, unless the cut changes what is inside of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from graphprune.export.edit_onnx import WRITTEN_OUT, shell_of, with_functions

from .helpers import compressed, was_edited

pytestmark = pytest.mark.onnx

node = helper.make_node
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]


def function(
    name: str, inputs: str, *nodes: onnx.NodeProto, attributes: tuple[str, ...] = ()
) -> onnx.FunctionProto:
    return helper.make_function("my", name, inputs.split(), ["y"], nodes, OPSETS, attributes)


def convolution() -> onnx.NodeProto:
    """With paddings that the call states."""
    made = node("Conv", ["x", "w"], ["c"])
    kind = onnx.AttributeProto.INTS
    made.attribute.append(onnx.AttributeProto(name="pads", ref_attr_name="pads", type=kind))
    return made


ACT = function("Act", "x", node("Sigmoid", ["x"], ["s"]), node("Mul", ["x", "s"], ["y"]))
LAYER = function(
    "Layer", "x w", convolution(), node("Act", ["c"], ["y"], domain="my"), attributes=("pads",)
)
STORED = numpy_helper.from_array(np.random.default_rng(3).normal(size=(8, 3, 3, 3)).astype("f4"))
OWN = function(
    "Own", "x", node("Constant", [], ["w"], value=STORED), node("Conv", ["x", "w"], ["y"], pads=[1] * 4)
)  # fmt: skip
KEEP = {
    "weights-handed-in": [
        node("Layer", ["x", "w1"], ["a"], domain="my", pads=[1] * 4),
        node("Layer", ["a", "w2"], ["b"], domain="my", pads=[0] * 4),
    ],
    "nested": [
        node("Conv", ["x", "w1"], ["c"], pads=[1] * 4), node("Act", ["c"], ["a"], domain="my"),
        node("Conv", ["a", "w2"], ["d"]), node("Act", ["d"], ["b"], domain="my"),
    ],
    "sizes-outside": [
        node("Conv", ["x", "w1"], ["c"], pads=[1] * 4), node("Reshape", ["c", "form"], ["r"]),
        node("Transpose", ["r"], ["t"], perm=[0, 2, 1, 3, 4]), node("Reshape", ["t", "back"], ["s"]),
        node("Layer", ["s", "w2"], ["b"], domain="my", pads=[0] * 4),
    ],
}  # fmt: skip


def model(nodes: list[onnx.NodeProto], *functions: onnx.FunctionProto) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    made = [*nodes, node("Conv", ["b", "w3"], ["y"])]
    sizes = {"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "w3": (2, 8, 1, 1)}
    stored: dict[str, Any] = {k: rng.normal(size=v).astype(np.float32) for k, v in sizes.items()}
    stored |= {"form": np.array([0, 2, 4, 6, 6]), "back": np.array([0, 8, 6, 6])}
    read = {name for each in made for name in each.input}
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 6, 6])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2, None, None])
    tensors = [numpy_helper.from_array(v, k) for k, v in stored.items() if k in read]
    graph = helper.make_graph(made, "g", [x], [y], tensors)
    return helper.make_model(graph, functions=functions, opset_imports=OPSETS, ir_version=8)


@pytest.mark.parametrize("kind", KEEP)
def test_the_calls_stay(kind: str, tmp_path: Path) -> None:
    before = model(KEEP[kind], ACT, LAYER)
    onnx.save(before, tmp_path / "model.onnx")
    result, after = compressed(tmp_path / "model.onnx", flops=0.5)
    assert was_edited(result), result.report.notes
    assert result.report.after.macs < result.report.before.macs
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.graph.node]
    assert after.functions == before.functions
    assert after.opset_import == before.opset_import


def test_a_function_whose_weights_shrink_is_written_out(tmp_path: Path) -> None:
    before = model([node("Own", ["x"], ["b"], domain="my")], OWN)
    onnx.save(before, tmp_path / "model.onnx")
    result, after = compressed(tmp_path / "model.onnx", flops=0.5)
    assert WRITTEN_OUT in result.report.notes
    assert "Own" not in {n.op_type for n in after.graph.node}


def test_no_shell_without_functions_or_with_bodies() -> None:
    plain = model([node("Conv", ["x", "w1"], ["b"])])
    assert shell_of(plain) == b""
    value = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    body = helper.make_graph([node("Relu", ["x"], ["o"])], "b", [], [value])
    choice = node("If", ["yes"], ["b"], then_branch=body, else_branch=body)
    assert shell_of(model([choice], ACT)) == b""


def test_a_new_node_is_refused() -> None:
    before = model(KEEP["nested"], ACT)
    after = onnx.ModelProto.FromString(before.SerializeToString())
    after.graph.node.append(node("Relu", ["y"], ["z"]))
    assert with_functions(shell_of(before), before, after) is None
