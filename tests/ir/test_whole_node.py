"""A node of an ONNX file as an operator of torch."""

from __future__ import annotations

import pytest
import torch
from onnx import TensorProto, helper

from graphprune.errors import LoadError, OptionError
from graphprune.ir.observed_sizes import ObservedRun
from graphprune.ir.whole_node import (
    WHOLE_NODE,
    alike_results,
    node_name,
    packed,
    row_axis,
    run_in_float64,
)

pytestmark = pytest.mark.onnx


def model(operator: str = "Hardmax", kind: int = TensorProto.FLOAT) -> str:
    node = helper.make_node(operator, ["x"], ["y"])
    values = [helper.make_tensor_value_info(name, kind, None) for name in "xy"]
    graph = helper.make_graph([node], "node", values[:1], values[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    seen = [ObservedRun(((n, 4),), ((n, 4),)) for n in (1, 2)]
    return packed(made, f"{operator} node 'mine'", seen)


def test_it_runs_in_the_types_of_the_node() -> None:
    x = torch.tensor([[1.0, 3, 2, 0], [0, 0, 0, 5]])
    (y,) = WHOLE_NODE([x], model())
    torch.testing.assert_close(y, torch.tensor([[0.0, 1, 0, 0], [0, 0, 0, 1]]))
    (wide,) = run_in_float64([x.double()], model())
    assert wide.dtype == torch.float64
    (whole,) = WHOLE_NODE([torch.tensor([[1, -2, 3, -4]])], model("Abs", TensorProto.INT64))
    assert whole.tolist() == [[1, 2, 3, 4]]
    assert node_name(model()) == "Hardmax node 'mine'"


class Layer(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.graphprune.onnx_node(
            [x.relu()], model("Softsign")
        )[0]  # fmt: skip


def test_export_keeps_the_call_and_the_open_batch() -> None:
    batch = torch.export.Dim("batch", min=1)
    x = torch.randn(2, 4)
    program = torch.export.export(Layer(), (x,), dynamic_shapes=({0: batch},))
    assert WHOLE_NODE in {node.target for node in program.graph.nodes}
    other = torch.randn(5, 4).relu()
    torch.testing.assert_close(program.module()(other), other / (1 + other))


def test_runs_that_agree_in_float64_give_the_same() -> None:
    # Between two numbers of float32, so that rounding goes either way.
    x = torch.full((1, 4), 1 + 2.0**-24, dtype=torch.float64)
    near = x + torch.tensor([1e-12, -1e-12, 1e-12, -1e-12], dtype=torch.float64)
    text = model("Softsign")
    apart = [run_in_float64([value], text)[0] for value in (x, near)]
    assert not torch.equal(*apart)
    with alike_results():
        together = [run_in_float64([value], text)[0] for value in (x, near, x + 1)]
    assert torch.equal(together[0], together[1])
    assert not torch.equal(together[0], together[2])


def test_it_has_no_gradient() -> None:
    x = torch.randn(2, 4, requires_grad=True)
    with pytest.raises(OptionError, match="Softsign node 'mine' runs in onnxruntime"):
        Layer()(x).sum().backward()


def test_what_cannot_run_is_named() -> None:
    with pytest.raises(LoadError, match="Hardmax node 'mine': onnxruntime can't run it"):
        WHOLE_NODE([torch.tensor(1.0)], model())


def test_rows_on_their_own_are_found_among_those_of_an_earlier_run() -> None:
    """A cut leaves some of them; where they are alike, up to what float64 rounds, so are the results."""
    node = helper.make_node("LpPool", ["x"], ["y"], kernel_shape=[2], p=3)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    graph = helper.make_graph([node], "node", values[:1], values[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    text = packed(made, "LpPool node 'p'", [ObservedRun(((2, 5, 4),), ((2, 5, 3),))], rows=1)
    assert row_axis(text) == 1
    assert row_axis(model()) is None
    x = torch.full((2, 5, 4), 1 + 2.0**-24, dtype=torch.float64) * torch.arange(1, 6).view(1, 5, 1)
    with alike_results():
        (dense,) = run_in_float64([x], text)
        (cut,) = run_in_float64([x[:, [1, 2, 4]] * (1 - 1e-15)], text)
        (other,) = run_in_float64([x[:, [1, 2, 4]] * 1.5], text)
    assert torch.equal(cut, dense[:, [1, 2, 4]])
    assert other.shape == cut.shape
    assert not torch.equal(other, cut)


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.INT32])
def test_results_of_another_type_than_stated_are_an_error(kind: int) -> None:
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT8E4M3FN)
    ends = [
        helper.make_tensor_value_info(name, each, None)
        for name, each in (("x", TensorProto.FLOAT), ("y", kind))
    ]
    graph = helper.make_graph([node], "node", ends[:1], ends[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    text = packed(made, "Cast node 'c'", [ObservedRun(((2,),), ((2,),))])
    with pytest.raises(LoadError, match="Cast node 'c': onnxruntime can't run it"):
        WHOLE_NODE([torch.randn(2)], text)
