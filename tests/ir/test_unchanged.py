"""Models that write into their buffers have these as they were, whatever is run on the way."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.ir.constant_calls import constant_calls
from graphprune.ir.memory import writes, written_operands
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from graphprune.ir.unchanged import copied, unchanged, unchanged_buffers, written_tensors


class Counting(nn.Module):
    """Normalises by a running mean of hidden channels, and counts its calls."""

    def __init__(self, *, assigned: bool = False) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(8, 24), nn.Linear(24, 24), nn.Linear(24, 4)
        self.assigned = assigned
        self.register_buffer("mean", torch.full((24,), 0.5))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.a(x))
        self.calls += 1
        if self.assigned:
            self.mean = 0.9 * self.mean + 0.1 * h.mean(0)
        else:
            self.mean.mul_(0.9).add_(h.mean(0), alpha=0.1)
        return self.head(torch.relu(self.b(h - self.mean)))


@pytest.mark.parametrize("data", [False, True], ids=["no-data", "data"])
@pytest.mark.parametrize("assigned", [False, True], ids=["in-place", "assigned"])
def test_a_model_that_keeps_state_is_cut_and_stays_as_it_was(*, assigned: bool, data: bool) -> None:
    torch.manual_seed(0)
    net, x = Counting(assigned=assigned).eval(), torch.randn(2, 8)
    mean = net.mean
    calibration = [torch.randn(32, 8)] if data else None
    result = gp.compress(net, x, flops=0.5, calibration=calibration)
    assert net.mean is mean
    assert not mean.requires_grad
    assert torch.equal(mean, torch.full((24,), 0.5))
    assert int(net.calls) == 0
    small = result.model
    assert isinstance(small, Counting)
    assert int(small.calls) == 0
    assert torch.equal(small.mean, torch.full((small.a.out_features,), 0.5))
    small(x)
    assert int(small.calls) == 1


def test_what_is_written_or_replaced_comes_back() -> None:
    net = Counting(assigned=True)
    with unchanged_buffers(net), torch.no_grad():
        (count,) = copied([net.calls])
        net(torch.randn(2, 8))
        assert int(net.calls) == int(count) + 1
    assert int(net.calls) == 0
    weight = torch.zeros(2)
    with unchanged([weight, "no tensor", torch.empty(2, device="meta")]):
        weight.add_(torch.ones(2, requires_grad=True))
    assert weight.tolist() == [0, 0]
    assert weight.is_leaf


@torch.library.custom_op("unchanged::add_mean", mutates_args={"total"})
def add_mean(x: torch.Tensor, total: torch.Tensor) -> None:
    """Write into the second operand, and give nothing back."""
    total.add_(x.mean())


@add_mean.register_fake
def _(x: torch.Tensor, total: torch.Tensor) -> None: ...


class Logging(nn.Module):
    """Writes what it has seen by an operator of its own, and reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 24), nn.Linear(24, 4)
        self.register_buffer("total", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        add_mean(x, self.total)
        return self.b(torch.relu(self.a(x)) * (1 + self.total))


def test_operands_that_are_written_need_not_come_first() -> None:
    graph = unlift(trace(Logging(), (torch.randn(2, 8),)))
    (call,) = [n for n in graph.graph.nodes if writes(n)]
    assert [n.target for n in written_operands(call)] == ["total"]
    assert written_tensors(graph) == {"total"}
    assert not constant_calls(graph)


def test_a_model_that_writes_by_an_operator_of_its_own_stays_as_it_was() -> None:
    torch.manual_seed(0)
    net, x = Logging().eval(), torch.randn(2, 8)
    result = gp.compress(net, x, flops=0.7, calibration=[torch.randn(32, 8)])
    assert float(net.total) == 0.0
    assert isinstance(result.model, Logging)
    result.model(x)
    assert float(result.model.total) == float(x.mean())
