"""What a node reads is what its graphs read too; optional inputs that are left out are no names."""

from __future__ import annotations

import onnx
from onnx import helper

from graphprune.export.node_reads import graphs_of, needed_for, nodes_of, reads_of
from tests.loading.onnx.helpers import chain


def branch(name: str) -> onnx.GraphProto:
    node = helper.make_node("Add", [name, "bias"], [f"{name}_out"])
    value = helper.make_tensor_value_info(f"{name}_out", onnx.TensorProto.FLOAT, [1])
    return helper.make_graph([node], name, [], [value])


def test_an_if_reads_what_its_branches_read() -> None:
    node = helper.make_node("If", ["when"], ["y"], then_branch=branch("a"), else_branch=branch("b"))
    assert {graph.name for graph in graphs_of(node)} == {"a", "b"}
    assert set(reads_of(node)) == {"when", "a", "b", "bias", "a_out", "b_out"}


def test_an_input_that_is_left_out_is_no_name() -> None:
    node = helper.make_node("Clip", ["x", "", "high"], ["y"])
    assert reads_of(node) == ["x", "high"]
    assert graphs_of(node) == []


def test_what_a_value_is_computed_from() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Relu", ["z"], ["b"]),
        helper.make_node("If", ["a"], ["y"], then_branch=branch("c"), else_branch=branch("c")),
    ]
    assert needed_for(nodes, ["y"]) == {"y", "a", "x", "c", "c_out", "bias"}
    assert needed_for(nodes, ["b"]) == {"b", "z"}


def test_all_nodes_of_a_model() -> None:
    """Those of functions too, and of bodies in functions."""
    node = helper.make_node("If", ["when"], ["y"], then_branch=branch("a"), else_branch=branch("b"))
    model = chain(helper.make_node("F", ["x"], ["y"], domain="local"))
    opsets = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("local", "F", ["when"], ["y"], [node], opsets))
    assert [each.op_type for each in nodes_of(model)] == ["F", "If", "Add", "Add"]
