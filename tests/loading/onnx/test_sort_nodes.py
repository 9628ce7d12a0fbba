"""Nodes that stand before what they read."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import helper

from graphprune.errors import LoadError
from graphprune.loading.onnx import import_onnx
from graphprune.loading.onnx.sort_nodes import sort_nodes

from .helpers import chain, saved

pytestmark = pytest.mark.onnx


def nodes(order: str) -> list[helper.NodeProto]:
    """``x -> a -> b -> c -> y``, of which ``c`` reads ``a`` too."""
    made = {
        "a": helper.make_node("Relu", ["x"], ["a"]),
        "b": helper.make_node("Neg", ["a"], ["b"]),
        "c": helper.make_node("Add", ["a", "b"], ["c"]),
        "y": helper.make_node("Abs", ["c"], ["y"]),
    }
    return [made[name] for name in order]


@pytest.mark.parametrize("order", ["abcy", "bacy", "ycba", "bcya"])
def test_every_order_is_read(order: str, tmp_path: Path) -> None:
    model = chain(*nodes(order))
    sort_nodes(model.graph)
    assert "".join(node.output[0] for node in model.graph.node) == "abcy"
    import_onnx(saved(chain(*nodes(order)), tmp_path))


def test_what_a_body_reads_comes_first(tmp_path: Path) -> None:
    def body(operator: str, name: str) -> helper.GraphProto:
        value = helper.make_tensor_value_info(name, 1, None)
        return helper.make_graph([helper.make_node(operator, ["a"], [name])], name, [], [value])

    branches = {"then_branch": body("Neg", "n"), "else_branch": body("Abs", "m")}
    choice = helper.make_node("If", ["yes"], ["y"], **branches)
    flag = helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("v", 9, [], [True]))
    model = chain(flag, choice, helper.make_node("Relu", ["x"], ["a"]))
    sort_nodes(model.graph)
    assert [node.op_type for node in model.graph.node] == ["Constant", "Relu", "If"]
    import_onnx(saved(model, tmp_path))


def test_a_circle_is_refused(tmp_path: Path) -> None:
    circle = [helper.make_node("Add", ["x", "b"], ["y"]), helper.make_node("Neg", ["y"], ["b"])]
    with pytest.raises(LoadError, match="topologically sorted"):
        import_onnx(saved(chain(*circle), tmp_path))
