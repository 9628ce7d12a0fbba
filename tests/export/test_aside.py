"""What was set aside comes back into any model of the rest."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from graphprune.export.aside import Aside

pytestmark = pytest.mark.onnx


@pytest.mark.parametrize("stored", [False, True], ids=["exported-anew", "edited"])
def test_nodes_outputs_tensors_and_opsets_come_back(*, stored: bool) -> None:
    x, y, z = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 2]) for n in "xyz")
    table = numpy_helper.from_array(np.ones(2, np.float32), "t")
    added = helper.make_node("Scaler", ["y"], ["u"], domain="ai.onnx.ml", offset=[0.0], scale=[2.0])
    last = helper.make_node("Mul", ["u", "t"], ["z"])
    aside = Aside(
        ("z",),
        tuple(n.SerializeToString() for n in (added, last)),
        tuple(v.SerializeToString() for v in (z, y)),
        (table.SerializeToString(),),
        (("", 17), ("ai.onnx.ml", 2)),
    )
    tensors = [table] if stored else []
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y], tensors)
    rest = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    whole = aside.put_back(rest)
    assert [n.op_type for n in whole.graph.node] == ["Relu", "Scaler", "Mul"]
    assert [v.name for v in whole.graph.output] == ["z", "y"]
    assert [t.name for t in whole.graph.initializer] == ["t"]
    assert {each.domain for each in whole.opset_import} == {"", "ai.onnx.ml"}
    assert len(rest.graph.node) == 1
    assert "z" in aside.note


def test_an_export_may_use_the_same_names_for_other_values() -> None:
    x, y, z = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in "xyz")
    table = numpy_helper.from_array(np.full(2, 3, np.float32), "t")
    nodes = helper.make_node("Neg", ["t"], ["u"]), helper.make_node("Abs", ["u"], ["z"])
    data = [node.SerializeToString() for node in nodes]
    outputs = tuple(v.SerializeToString() for v in (z, y))
    aside = Aside(("z",), (), outputs, (table.SerializeToString(),), (), tuple(data))
    other = numpy_helper.from_array(np.full(2, 5, np.float32), "t")
    made = [helper.make_node("Mul", ["x", "t"], ["u"]), helper.make_node("Relu", ["u"], ["y"])]
    graph = helper.make_graph(made, "g", [x], [y], [other])
    rest = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    whole = aside.put_back(rest, anew=True)
    runner = onnxruntime.InferenceSession(whole.SerializeToString())
    found = runner.run(None, {"x": np.ones(2, np.float32)})
    assert [value.tolist() for value in found] == [[3, 3], [5, 5]]
