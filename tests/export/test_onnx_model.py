"""ONNX models are read, and the values in them renamed, bodies included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from graphprune.export.onnx_model import opset_of, read_model, rename_values, stored_tensors
from tests.loading.onnx.helpers import chain, relu, saved

pytestmark = pytest.mark.onnx


def test_a_model_is_read_from_bytes_and_from_files(tmp_path: Path) -> None:
    file = saved(relu(), tmp_path)
    assert read_model(file) == read_model(str(file)) == read_model(file.read_bytes()) == relu()


@pytest.mark.parametrize(("domain", "found"), [("", 18), ("ai.onnx", 18), ("com.microsoft", 0)])
def test_the_operator_set_is_that_of_onnx(domain: str, found: int) -> None:
    model = onnx.ModelProto(opset_import=[helper.make_opsetid(domain, 18)])
    assert opset_of(model) == found


def test_values_are_renamed_wherever_they_are_read() -> None:
    result = helper.make_tensor_value_info("inner", onnx.TensorProto.FLOAT, [1])
    body = helper.make_graph([helper.make_node("Relu", ["x"], ["inner"])], "body", [], [result])
    node = helper.make_node("If", ["when", ""], ["y"], then_branch=body, else_branch=body)
    graph = helper.make_graph([node], "whole", [], [result])
    rename_values(graph, lambda name: name.upper())
    (node,) = graph.node
    assert [*node.input, *node.output, graph.output[0].name] == ["WHEN", "", "Y", "INNER"]
    for attribute in node.attribute:
        (inner,) = attribute.g.node
        assert [*inner.input, *inner.output, attribute.g.output[0].name] == ["X", "INNER", "INNER"]


def test_tensors_are_stored_in_two_ways() -> None:
    value = numpy_helper.from_array(np.ones(3, np.float32))
    model = chain(
        helper.make_node("Constant", [], ["a"], value=value),
        helper.make_node("Constant", [], ["n"], value_float=2.0),
        helper.make_node("Sum", ["x", "a", "n", "w"], ["y"]),
        weights={"w": np.zeros(3, np.float32)},
    )
    assert stored_tensors(model.graph).keys() == {"a", "w"}
