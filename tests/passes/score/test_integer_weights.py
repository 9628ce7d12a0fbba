"""Weights that are stored as integers are scored by their values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphprune.analysis.analyse import analyse
from graphprune.ir.trace import trace
from graphprune.passes.score import Magnitude
from graphprune.passes.score.integer_weights import IntegerWeights


class Quantised(torch.nn.Module):
    """Two linear layers of integers, with a scale for each hidden channel of the first."""

    def __init__(self, *, learned: bool = False) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.register_buffer("a", torch.randint(-9, 9, (8, 5), generator=draw, dtype=torch.int8))
        self.register_buffer("b", torch.randint(-9, 9, (3, 8), generator=draw, dtype=torch.int8))
        scales = torch.linspace(0.1, 0.8, 8)
        self.scales = torch.nn.Parameter(scales) if learned else torch.nn.Buffer(scales)

    def first(self) -> torch.Tensor:
        return (self.a.float() - 1) * self.scales[:, None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(torch.nn.functional.linear(x, self.first()))
        return torch.nn.functional.linear(hidden, self.b.float() * 0.5)


@pytest.mark.parametrize("p", [1, 2])
def test_magnitude_is_that_of_the_values(p: int) -> None:
    net = Quantised().eval()
    analysis = analyse(trace(net, (torch.randn(2, 5),)))
    (group,) = analysis.groups
    expected = (net.first().abs() ** p).sum(1) + ((net.b.float() * 0.5).abs() ** p).sum(0)
    found = Magnitude(p=p)(analysis).values[group.id]
    np.testing.assert_allclose(found, expected.detach().double(), rtol=1e-6)


def test_weights_that_are_computed_from_parameters_are_not_counted_twice() -> None:
    analysis = analyse(trace(Quantised(learned=True).eval(), (torch.randn(2, 5),)))
    values = IntegerWeights(analysis).values
    assert [tuple(value.shape) for value in values.values()] == [(3, 8)]


def test_a_float_network_has_none() -> None:
    analysis = analyse(trace(torch.nn.Linear(4, 3).eval(), (torch.randn(2, 4),)))
    assert IntegerWeights(analysis).values == {}
