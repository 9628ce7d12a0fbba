"""Sigmoids without flat ends, in programs and ONNX models alike."""

from __future__ import annotations

import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from graphprune.export.run_onnx import run_onnx
from graphprune.export.unsaturated import has_sigmoid, unsaturated, unsaturated_onnx
from graphprune.ir.program import unlift
from tests.export.helpers import converted, program_of

pytestmark = pytest.mark.onnx


class Gates(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.sigmoid(), nn.functional.silu(x)


def test_both_sides_compute_the_same_and_feel_the_argument_far_out() -> None:
    x = torch.tensor([[-40.0, -3.0, 0.0, 0.5, 30.0]])
    program = program_of(Gates(), x)
    got = run_onnx(unsaturated_onnx(converted(program).SerializeToString()), [x])
    expected = unsaturated(unlift(program))(x)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(got[0], x.sign() * x.abs().log1p())


class Gated(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (3 * x).sigmoid(), x * x.sigmoid()


def test_gates_may_stay_as_they_are() -> None:
    x = torch.tensor([[-40.0, -3.0, 0.0, 0.5, 30.0]])
    program = program_of(Gated(), x)
    data = converted(program).SerializeToString()
    pair = (
        run_onnx(unsaturated_onnx(data, gates=False), [x]),
        unsaturated(unlift(program), gates=False)(x),
    )
    for got, gate in pair:
        torch.testing.assert_close(got, x.sign() * (3 * x).abs().log1p())
        torch.testing.assert_close(gate, x * x.sigmoid(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("opset", [7, 13])
def test_old_operator_sets_have_no_sign(opset: int) -> None:
    value, kind = helper.make_tensor_value_info, TensorProto.FLOAT
    ends = [[value(name, kind, [1, 5])] for name in "xy"]
    graph = helper.make_graph([helper.make_node("Sigmoid", ["x"], ["y"])], "g", *ends)
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    x = torch.tensor([[-40.0, -3e-5, 0.0, 0.5, 30.0]])
    (got,) = run_onnx(unsaturated_onnx(model.SerializeToString()), [x])
    torch.testing.assert_close(got, x.sign() * x.abs().log1p())


def test_what_has_no_sigmoid_is_known() -> None:
    x = torch.randn(2, 3)
    assert has_sigmoid(program_of(Gates(), x).graph)
    assert not has_sigmoid(program_of(nn.Tanh(), x).graph)
