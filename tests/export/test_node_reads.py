"""What a node reads is what its graphs read too; optional inputs that are left out are no names."""

from __future__ import annotations

import onnx
from onnx import helper

from graphprune.export.node_reads import graphs_of, reads_of


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
