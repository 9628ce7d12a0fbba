"""ONNX models run on tensors, in sessions that may be opened once for many runs."""

from __future__ import annotations

import pytest
import torch
from onnx import TensorProto, helper

from graphprune.errors import ExportError
from graphprune.export.ort_session import session
from graphprune.export.run_onnx import run_onnx, run_session
from tests.export.helpers import affine, converted

pytestmark = pytest.mark.onnx


def test_a_model_runs_on_tensors_and_refuses_another_number_of_them() -> None:
    program, x = affine(), torch.randn(3, 4)
    data = converted(program).SerializeToString()
    (found,) = run_onnx(data, [x, None, 3])
    torch.testing.assert_close(found, program.module()(x), rtol=1e-5, atol=1e-5)
    with pytest.raises(ExportError, match="has 1 inputs, not 2"):
        run_onnx(data, [x, x])
    with pytest.raises(ExportError, match="onnxruntime can't run the ONNX model"):
        run_onnx(data, [torch.randn(3, 5)])


def test_a_session_runs_again_and_again() -> None:
    program = affine()
    data = converted(program).SerializeToString()
    runner = session(data, exact=True)
    for rows in (1, 3):
        x = torch.randn(rows, 4)
        assert torch.equal(run_session(runner, [x])[0], run_onnx(data, [x])[0])


def test_a_type_that_numpy_lacks_is_an_export_error() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.BFLOAT16, [2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    cast = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    model = helper.make_model(
        helper.make_graph([cast], "half", [x], [y]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    with pytest.raises(ExportError, match="can't be handed over") as caught:
        run_onnx(model.SerializeToString(), [torch.ones(2, dtype=torch.bfloat16)])
    assert "float32" in caught.value.hint
