"""Runs of graphs, and errors between their results."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx

from graphprune.ir.program import state, unlift
from graphprune.verify.graph_runs import all_finite, error, run

floats = st.floats(-1e3, 1e3, allow_nan=False)


@given(st.lists(floats, min_size=1, max_size=6), st.floats(1e-3, 1e3))
def test_an_error_is_relative_to_the_largest_value(values: list[float], factor: float) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    assert error([x], [x]) == 0
    off = x + 0.5 * x.abs().max()
    if x.abs().max() > 1e-6:
        assert error([off], [x]) == pytest.approx(0.5)
        assert error([factor * off], [factor * x]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("got", "expected", "found"),
    [
        (torch.zeros(2), torch.zeros(3), math.inf),
        (torch.tensor([1.0, math.nan]), torch.ones(2), math.inf),
        (torch.tensor([1.0, math.nan]), torch.tensor([1.0, math.nan]), 0.0),
        (torch.tensor([2.0, -math.inf]), torch.tensor([4.0, -math.inf]), 0.5),
        (torch.tensor([2.0, math.inf]), torch.tensor([2.0, -math.inf]), math.inf),
        (torch.tensor([2.0, 1e9]), torch.tensor([2.0, math.inf]), math.inf),
        (torch.tensor([2.0, math.inf]), torch.tensor([2.0, 1e9]), math.inf),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), 1.0),
        (torch.tensor([True]), torch.tensor([True]), 0.0),
        (torch.zeros(0), torch.zeros(0), 0.0),
        (torch.zeros(3), torch.zeros(0), math.inf),
        (7, torch.zeros(1), math.inf),
        (torch.zeros(1), 7, 0.0),
        (torch.tensor([3 + 4j]), torch.tensor([0 + 5j]), abs(3 - 1j) / 5),
    ],
)
def test_what_counts_as_an_error(got: Any, expected: Any, found: float) -> None:
    assert error([got], [expected]) == pytest.approx(found)


def test_outputs_of_another_number_are_no_comparison() -> None:
    with pytest.raises(ValueError, match="argument"):
        error([torch.zeros(1)], [torch.zeros(1), torch.zeros(1)])


class Writing(torch.nn.Module):
    def forward(self, x: Tensor, times: int) -> Tensor:
        return x.mul_(times) + 0


def test_inputs_are_copied_and_gradients_only_recorded_if_asked_for() -> None:
    x = torch.ones(2, requires_grad=True)
    for gradients in (False, True):
        (found,) = run(fx.Interpreter(fx.symbolic_trace(Writing())), [x, 3], gradients=gradients)
        assert found.tolist() == [3, 3]
        assert found.requires_grad == gradients
    assert x.tolist() == [1, 1]


class Counting(torch.nn.Module):
    """Writes into a buffer, and into a tensor that is none."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(2))
        self.total = torch.zeros(2)

    def forward(self, x: Tensor) -> Tensor:
        self.count.add_(1)
        self.total.add_(x)
        return self.count + self.total


def test_what_a_graph_stores_stays_as_it_is() -> None:
    module = unlift(torch.export.export(Counting(), (torch.ones(2),)))
    for _ in range(2):
        (found,) = run(fx.Interpreter(module), [torch.ones(2)])
        assert found.tolist() == [2, 2]
    assert {name: tensor.tolist() for name, tensor in state(module).items()} == {
        "count": [0, 0],
        "total": [0, 0],
    }


def test_only_tensors_of_numbers_that_vary_can_be_infinite() -> None:
    assert all_finite([torch.ones(2), torch.tensor([1, 2]), 7, None])
    assert not all_finite([torch.ones(2), torch.tensor([1.0, math.inf])])
    assert not all_finite([torch.tensor([math.nan])])
