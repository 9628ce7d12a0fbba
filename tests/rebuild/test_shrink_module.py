"""A copy of the user's module with sliced tensors, and all that goes with them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import graphprune as gp
from tests import nets


class Scaled(nn.Module):
    """Tensors that are mere attributes, one of them of two modules; converting the model parts these."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 8, 3)
        self.inside, self.outside = torch.rand(16, 1, 1), torch.rand(8, 1, 1)
        self.part = nn.Identity()
        self.part.factors = self.outside

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x).relu() * self.inside) * self.part.factors + self.outside

    def _apply(self, fn: Any, recurse: bool = True) -> Scaled:
        super()._apply(fn, recurse)
        self.outside, self.part.factors = fn(self.outside), fn(self.part.factors)
        return self


def test_a_class_comes_back_with_tensors_that_are_mere_attributes() -> None:
    net, x = Scaled(), torch.randn(2, 3, 8, 8)
    result = gp.compress(net, (x,), flops=0.5)
    assert type(result.model) is Scaled, result.report.eager["reason"]
    assert len(result.model.inside) == result.model.a.out_channels < 16
    assert result.model.part.factors is result.model.outside
    torch.testing.assert_close(result.model(x), result.program.module()(x))


class Remembering(nn.Module):
    """Keeps what it computes of a parameter in evaluation, until it goes into training mode (LeViT)."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.value = nn.Linear(8, 24), nn.Linear(8, 24)
        self.bias, self.kept = nn.Parameter(torch.randn(4, 3)), {}
        self.register_buffer(
            "places", torch.tensor([[0, 1, 2], [1, 0, 1], [2, 1, 0]]), persistent=False
        )
        self.head = nn.Linear(24, 3)

    def train(self, mode: bool = True) -> Remembering:
        super().train(mode)
        if mode:
            self.kept = {}
        return self

    def biases(self) -> torch.Tensor:
        if self.training:
            return self.bias[:, self.places]
        if "all" not in self.kept:
            self.kept["all"] = self.bias[:, self.places]
        return self.kept["all"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = self.bias.shape[0]
        q, v = (
            layer(x).unflatten(-1, (heads, -1)).transpose(1, 2)
            for layer in (self.query, self.value)
        )
        y = (q @ q.transpose(-1, -2) + self.biases()).softmax(-1) @ v
        return self.head(y.transpose(1, 2).flatten(2).mean(1))


def test_a_class_comes_back_that_keeps_computed_values_in_evaluation() -> None:
    torch.manual_seed(0)
    net, x = Remembering().eval(), torch.randn(2, 3, 8)
    before = net(x)
    result = gp.compress(net, (x,), flops=0.5, score="random")
    assert type(result.model) is Remembering, result.report.eager["reason"]
    assert result.model.bias.shape[0] < 4
    torch.testing.assert_close(result.model(x), result.program.module()(x))
    torch.testing.assert_close(net(x), before)  # nothing of the export is left in it


def test_a_recurrent_class_comes_back() -> None:
    net = nets.Recurrent()
    result = gp.compress(net, net.inputs(), params=0.5)
    assert type(result.model) is nets.Recurrent, result.report.eager["reason"]
    assert result.model.lstm.hidden_size == result.model.lstm.weight_hh_l0.shape[1] < 12
