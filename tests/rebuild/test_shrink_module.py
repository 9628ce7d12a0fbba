"""A copy of the user's module with sliced tensors, and all that goes with them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.ir.trace import trace
from graphprune.rebuild.shrink_module import find_tensor, plain_tensors, shrink_module
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


def test_values_take_the_place_of_slices_and_strangers_are_left_out() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2))
    analysis = analyse(trace(net, (torch.randn(2, 4),)))
    cut = Cut.keeping(analysis, {"0": [1, 2]})
    values = {"0.bias": torch.tensor([5.0, 6.0]), "1.bias": torch.zeros(7), "other": torch.ones(1)}
    small: Any = shrink_module(net, cut, values)
    assert small[0].bias.tolist() == [5, 6]
    assert torch.equal(small[1].bias, net[1].bias)


def test_a_tensor_is_found_by_its_name_registered_or_not() -> None:
    net = Scaled()
    assert find_tensor(net, "a.weight") is net.a.weight
    assert find_tensor(net, "part.factors") is net.outside
    for name in ("a", "nothing", "a.weight.nothing", "part.nothing"):
        assert find_tensor(net, name) is None


def test_mere_attributes_are_listed_with_all_their_places() -> None:
    net = Scaled()
    analysis = analyse(trace(net, (torch.randn(2, 3, 8, 8),)))
    places = sorted(map(sorted, plain_tensors(net, analysis).values()))
    assert places == [["inside"], ["outside", "part.factors"]]


class Listing(nn.Module):
    """Lists its parameters for a penalty on them, where torch doesn't see it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 4)
        self.penalised = [self.a.weight, self.b.weight]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x).relu())


def test_a_parameter_is_cut_wherever_a_class_keeps_it() -> None:
    net, x = Listing(), torch.randn(2, 8)
    before = net.a.weight.clone()
    result = gp.compress(net, (x,), flops=0.5)
    small = result.model
    assert isinstance(small, Listing), result.report.eager["reason"]
    first, second = small.penalised
    assert first is small.a.weight
    assert second is small.b.weight
    assert len(first) < 16
    assert net.penalised[0] is net.a.weight
    assert torch.equal(net.a.weight, before)
    torch.testing.assert_close(result.model(x), result.program.module()(x))


class Projected(nn.Module):
    """An LSTM with projections between two linear layers."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.first = nn.Linear(6, 24)
        self.lstm = nn.LSTM(24, 32, proj_size=16, batch_first=True, **options)
        self.last = nn.Linear(32 if options.get("bidirectional") else 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, 6] -> [B, T, 3]``."""
        return self.last(self.lstm(self.first(x))[0])


@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2, "bidirectional": True}, {"num_layers": 2, "bias": False}]
)
def test_an_lstm_with_projections_stays_one(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model, x = Projected(**options).eval(), torch.randn(2, 5, 6)
    result = gp.compress(model, (x,), flops=0.5)
    small = result.model
    assert isinstance(small, Projected), result.report.eager["reason"]
    assert small.lstm.proj_size == small.lstm.weight_hr_l0.shape[0] < 16
    assert small.lstm.hidden_size == 32
    assert small.lstm.input_size == small.first.out_features
    masked = copy.deepcopy(model).double()
    for group in result.plan.groups:
        gone = torch.tensor(sorted(set(range(group.width)) - set(group.keep)), dtype=torch.int64)
        for axis in group.axes:
            name, _, dim = axis.rpartition(":")
            if masked.get_parameter(name).shape[int(dim)] == group.width:
                masked.get_parameter(name).data.index_fill_(int(dim), gone, 0)
            else:  # both directions, one after the other
                both = torch.cat([gone, gone + group.width])
                masked.get_parameter(name).data.index_fill_(int(dim), both, 0)
    got = copy.deepcopy(small).double()(x.double())
    torch.testing.assert_close(got, masked(x.double()), rtol=1e-9, atol=1e-9)
