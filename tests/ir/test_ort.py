"""Sessions of onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from graphprune.errors import LoadError
from graphprune.ir import ort
from graphprune.ir.ort import plain_session, run_arrays, runtime_errors
from tests.loading.onnx.helpers import chain, relu

pytestmark = pytest.mark.onnx


def test_a_session_runs_a_model() -> None:
    x = np.array([[-1, 2, 3], [4, -5, 6]], np.float32)
    (y,) = plain_session(relu().SerializeToString()).run(None, {"x": x})
    np.testing.assert_array_equal(y, np.maximum(x, 0))


def test_its_errors_are_known() -> None:
    unknown = chain(helper.make_node("Mine", ["x"], ["y"]))
    with pytest.raises(runtime_errors()):
        plain_session(unknown.SerializeToString())
    with pytest.raises(runtime_errors()):
        plain_session(b"no model")


def endless() -> onnx.ModelProto:
    """A loop that never ends."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Add", ["s", "s"], ["next"]),
        ],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("go", TensorProto.BOOL, []),
            value("s", TensorProto.FLOAT, [1]),
        ],
        [value("on", TensorProto.BOOL, []), value("next", TensorProto.FLOAT, [1])],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["", "yes", "x"], ["y"], body=body)],
        "endless",
        [value("x", TensorProto.FLOAT, [1]), value("yes", TensorProto.BOOL, [])],
        [value("y", TensorProto.FLOAT, [1])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_loop_without_an_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "SECONDS", 0.2)
    session = plain_session(endless().SerializeToString())
    with pytest.raises(LoadError, match="onnxruntime can't run it"):
        run_arrays(session, {"x": np.ones(1, np.float32), "yes": np.array(True)})
