"""Nodes that lead to no output, some of which would no longer run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from graphprune.export.edit_onnx.drop_dead import drop_dead

from .helpers import compressed, was_edited

pytestmark = pytest.mark.onnx


def model() -> onnx.ModelProto:
    """Two layers, from the first of which a dead end goes that needs twelve channels; another reads the input."""
    draw = np.random.default_rng(0)
    stored = {
        "w1": draw.normal(size=(12, 3, 3, 3)).astype(np.float32),
        "w2": draw.normal(size=(2, 12, 1, 1)).astype(np.float32),
        "to": np.array([-1, 12, 16], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"]),
        helper.make_node("Reshape", ["a", "to"], ["dead"]),
        helper.make_node("Relu", ["dead"], ["behind"]),
        helper.make_node("Neg", ["x"], ["elsewhere"]),
        helper.make_node("Conv", ["a", "w2"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    x, y = (
        value("x", TensorProto.FLOAT, ["N", 3, 6, 6]),
        value("y", TensorProto.FLOAT, ["N", 2, 4, 4]),
    )
    tensors = [numpy_helper.from_array(v, k) for k, v in stored.items()]
    graph = helper.make_graph(nodes, "net", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_those_that_read_what_is_cut_go(tmp_path: Path) -> None:
    onnx.save(model(), tmp_path / "net.onnx")
    result, after = compressed(tmp_path / "net.onnx", flops=0.5)
    assert was_edited(result), result.report.notes
    assert [node.op_type for node in after.graph.node] == ["Conv", "Neg", "Conv"]


def test_where_nothing_changes_all_stay() -> None:
    graph = model().graph
    drop_dead(graph, ())
    assert graph == model().graph
