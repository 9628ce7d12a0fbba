"""Graphs and Python code run in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from graphprune.ops.float64 import Float64Interpreter, Float64Mode, float64_type, to_float64


class Mixed(nn.Module):
    """Casts, tensors made on the way, and whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 4)
        self.register_buffer("steps", torch.arange(4))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = self.a(x)
        return y.half().float() + torch.ones(4, dtype=torch.float32), y > 0, self.steps + 1


X = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("kind", "wide"),
    [
        (torch.float16, torch.float64),
        (torch.bfloat16, torch.float64),
        (torch.float32, torch.float64),
        (torch.float64, torch.float64),
        (torch.complex64, torch.complex128),
        (torch.int8, torch.int8),
        (torch.int64, torch.int64),
        (torch.bool, torch.bool),
    ],
)
def test_types(kind: torch.dtype, wide: torch.dtype) -> None:
    assert float64_type(kind) == wide
    value = torch.ones(2).to(kind)
    found = to_float64(value)
    assert found.dtype == wide
    assert torch.equal(found, value.to(wide))
    found.zero_()
    assert value.bool().all(), "it is a copy"


def test_what_is_no_tensor_stays_what_it_is() -> None:
    assert [to_float64(x) for x in (1, 2.5, "x", None)] == [1, 2.5, "x", None]


def test_a_graph_computes_in_float64_though_its_code_casts() -> None:
    torch.manual_seed(0)
    net = Mixed()
    module = unlift(trace(net, (X,)))
    value, flags, steps = Float64Interpreter(module).run(X.double(), enable_io_processing=False)
    expected = nn.functional.linear(X.double(), net.a.weight.double(), net.a.bias.double()) + 1
    assert value.dtype == torch.float64
    torch.testing.assert_close(value, expected, rtol=1e-15, atol=1e-15)
    assert (flags.dtype, steps.dtype) == (torch.bool, torch.int64)
    assert (module(X)[0] - expected).abs().max() > 1e-6


def test_other_values_stand_in_for_stored_ones() -> None:
    module = unlift(trace(nn.Linear(3, 2), (X,)))
    found = Float64Interpreter(module, {"weight": torch.zeros(2, 3)}).run(
        X.double(), enable_io_processing=False
    )
    (result,) = found if isinstance(found, tuple | list) else (found,)
    assert torch.equal(result, module.get_parameter("bias").double().expand(2, 2))


def test_python_code_is_widened_as_a_graph_is() -> None:
    torch.manual_seed(0)
    net = Mixed()
    module = unlift(trace(net, (X,)))
    expected = Float64Interpreter(module).run(X.double(), enable_io_processing=False)
    with torch.no_grad(), Float64Mode():
        found = net.double()(X.double())
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=1e-15, atol=1e-15)


def test_random_numbers_are_held_and_wide() -> None:
    with Float64Mode():
        drawn, made = torch.rand(3), torch.zeros(2, dtype=torch.float16)
    assert (drawn.dtype, made.dtype) == (torch.float64, torch.float64)
    assert drawn.tolist() == [0.5] * 3
    assert torch.rand(3).dtype == torch.float32
