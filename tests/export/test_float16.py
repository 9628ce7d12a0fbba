"""Half precision: smaller weights behind the same inputs and outputs."""

from __future__ import annotations

import onnx
import pytest
import torch

from graphprune.errors import ExportError
from graphprune.export.check import check_onnx
from graphprune.export.float16 import HALF_TOLERANCE, to_half
from graphprune.export.run_onnx import run_onnx
from tests.export.helpers import Affine, affine, converted, program_of

pytestmark = pytest.mark.onnx


def test_weights_are_half_and_the_model_that_was_given_is_not() -> None:
    program = affine()
    model = converted(program)
    before = model.SerializeToString()
    data = to_half(model)
    assert model.SerializeToString() == before
    half = onnx.load_from_string(data)
    kinds = {tensor.data_type for tensor in half.graph.initializer}
    assert kinds == {onnx.TensorProto.FLOAT16}
    sides = (*half.graph.input, *half.graph.output)
    assert {value.type.tensor_type.elem_type for value in sides} == {onnx.TensorProto.FLOAT}
    assert 1e-7 < check_onnx(data, program, tolerance=HALF_TOLERANCE).max_error < HALF_TOLERANCE
    assert run_onnx(data, [torch.randn(5, 4)])[0].dtype == torch.float32


def test_weights_below_the_smallest_half_are_no_warning() -> None:
    net = Affine()
    with torch.no_grad():
        net.fc.weight.fill_(1e-9)
    to_half(converted(program_of(net, torch.randn(2, 4))))


def test_a_model_without_such_weights_is_refused() -> None:
    double = program_of(Affine().double(), torch.randn(2, 4, dtype=torch.float64))
    with pytest.raises(ExportError, match="no float32 weights"):
        to_half(converted(double))
