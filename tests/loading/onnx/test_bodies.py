"""Bodies of control flow: their names become unique, their tensors the graph's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from graphprune.errors import LoadError
from graphprune.loading import load
from graphprune.loading.onnx.bodies import all_nodes, bodies_of, hoist, live_nodes
from graphprune.loading.onnx.operators import Body, Node
from graphprune.loading.onnx.read_graph import read_graph
from tests.loading.onnx.helpers import chain, saved

pytestmark = pytest.mark.onnx


def nested() -> onnx.ModelProto:
    """An If in a branch of an If; sibling branches call their values and tensors alike."""

    def branch(
        number: float, *more: onnx.NodeProto, name: str = "a", out: str = "a"
    ) -> onnx.GraphProto:
        stored = [numpy_helper.from_array(np.float32(number), f"w{name}")]
        nodes = [helper.make_node("Mul", ["x", f"w{name}"], [name]), *more]
        result = helper.make_tensor_value_info(out, TensorProto.FLOAT, None)
        return helper.make_graph(nodes, "branch", [], [result], stored)

    inner = helper.make_node(
        "If",
        ["flag"],
        ["b"],
        then_branch=branch(2, name="i", out="i"),
        else_branch=branch(3, name="i", out="i"),
    )
    outer = helper.make_node(
        "If", ["flag"], ["y"], then_branch=branch(5, inner, out="b"), else_branch=branch(7)
    )
    return chain(outer, weights={"flag": True})


def test_names_differ_and_the_result_stays() -> None:
    model = nested()
    before = onnxruntime.InferenceSession(model.SerializeToString())
    hoist(model.graph)
    onnx.checker.check_model(model)
    after = onnxruntime.InferenceSession(model.SerializeToString())
    x = np.ones((2, 3), np.float32)
    assert (before.run(None, {"x": x})[0] == after.run(None, {"x": x})[0]).all()
    assert {float(numpy_helper.to_array(t)) for t in model.graph.initializer} == {1, 2, 3, 5, 7}
    names = [t.name for t in model.graph.initializer]
    assert len(names) == len(set(names)) == 5


def test_calls_of_bodies_come_after_the_call_that_holds_them(tmp_path: Path) -> None:
    graph = read_graph(saved(nested(), tmp_path))
    assert [n.operator for n in all_nodes(graph.nodes)] == [
        "If",
        *["Mul"] * 2,
        "If",
        *["Mul"] * 2,
    ]
    assert [len(bodies_of(n)) for n in all_nodes(graph.nodes)] == [2, 0, 0, 2, 0, 0]
    outputs = [name for n in all_nodes(graph.nodes) for name in n.outputs]
    assert len(outputs) == len(set(outputs))


def test_tensors_of_bodies_are_checked_as_others(tmp_path: Path) -> None:
    model = nested()
    tensor = model.graph.node[0].attribute[0].g.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value="../secret")
    with pytest.raises(LoadError, match="stored outside the folder"):
        read_graph(saved(model, tmp_path))


def test_what_leads_to_no_output_is_not_live(tmp_path: Path) -> None:
    model = nested()
    model.graph.node.append(helper.make_node("Neg", ["x"], ["dead"]))
    model.graph.node.append(helper.make_node("EyeLike", ["dead"], ["end"]))
    model.graph.node.insert(0, helper.make_node("Identity", ["flag"], ["unread"]))
    nodes = read_graph(saved(model, tmp_path)).nodes
    assert live_nodes(nodes, ["y"]) == {1}
    assert live_nodes(nodes, ["dead"]) == {2}
    found = load(tmp_path / "model.onnx").onnx_file
    assert found
    assert not found.whole


def test_what_only_a_body_reads_is_live() -> None:
    body = Body((Node("Neg", "n", ("a",), ("b",), {}, 17),), (), ("b",))
    first = Node("Abs", "f", ("x",), ("a",), {}, 17)
    branch = Node("If", "i", ("c",), ("y",), {"then_branch": body}, 17)
    assert live_nodes([first, branch], ["y"]) == {0, 1}
