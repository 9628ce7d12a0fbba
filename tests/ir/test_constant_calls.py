"""Calls that could be stored: of stored tensors alone, and never written into."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import fx, nn

import graphprune as gp
from graphprune.ir.constant_calls import constant_calls, constant_integers
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from tests import nets


class Overwritten(nets.Net):
    """A computed weight that something writes into can't be stored."""

    held = True

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nets.conv(3, 8), nets.conv(8, 8)
        self.head = nets.head(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        w = self.b.weight - self.b.weight.mean((1, 2, 3), keepdim=True)
        view = w[:, :, 0]
        view.mul_(x.mean())
        x = torch.relu(self.a(x))
        return self.head(torch.conv2d(x, w, padding=1))


def test_nothing_that_is_written_into_is_stored() -> None:
    net = Overwritten()
    program = trace(net, net.inputs())
    stored = {n.name for n in constant_calls(unlift(program))}
    assert "mean" in stored
    assert "sub" not in stored


class Outer(nets.Net):
    """A weight that is the outer product of two vectors, one that is a part, and noise."""

    held = True

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(8)), nn.Parameter(torch.randn(8))
        self.whole = nn.Parameter(torch.randn(8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        large = torch.outer(self.a, self.b)
        small, _ = (self.whole * 2).chunk(2)
        noise = torch.rand_like(self.whole)
        return x @ large @ small.t() + (x @ noise)[:, :4]


@pytest.fixture(scope="module")
def outer() -> fx.GraphModule:
    return unlift(trace(Outer(), (torch.randn(2, 8),)))


def test_what_is_larger_than_its_sources_is_stored_only_where_asked(
    outer: fx.GraphModule,
) -> None:
    found = {
        larger: {str(n.target) for n in constant_calls(outer, larger=larger)}
        for larger in (False, True)
    }
    assert {"aten.mul.Tensor", "aten.chunk.default"} <= found[False]
    assert found[True] - found[False] >= {"aten.outer.default"}


def test_what_depends_on_inputs_or_chance_is_not_stored(outer: fx.GraphModule) -> None:
    found = constant_calls(outer, larger=True)
    (x,) = outer.graph.find_nodes(op="placeholder")
    assert all(x not in node.all_input_nodes for node in found)
    assert not any("rand" in str(node.target) for node in found)
    assert all(node.op == "call_function" for node in found)


@pytest.mark.parametrize(
    "index",
    [
        lambda: [3, 1, 0, 2, 5, 4, 7, 6],
        lambda: torch.tensor([3, 1, 0, 2, 5, 4, 7, 6]),
        lambda: torch.arange(8).flip(0),
        lambda: torch.arange(8).view(2, 4).t().reshape(-1),
        lambda: torch.arange(0, 8, 2),
    ],
    ids=["list", "tensor", "flipped", "shuffled", "strided"],
)
def test_channels_are_picked_by_an_index_that_is_computed_beforehand(index: Any) -> None:
    class Picked(nets.Net):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nets.conv(3, 8), nets.conv(len(index()), 8)
            self.head = nets.head(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.relu(self.b(torch.relu(self.a(x))[:, index()])))

    net = Picked().eval()
    groups = {group.id.partition("#")[0] for group in gp.inspect(net, net.inputs()).groups}
    assert "a" in groups
    result = gp.compress(net, net.inputs(), flops=0.5, score="random", any_width=True)
    assert result.report.oracle["max_error"] < 1e-9


def test_integers_that_something_writes_into_are_unknown() -> None:
    class Written(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            index = torch.arange(4)
            index[0] = x.shape[1] - 1
            return x[:, index] + x[:, torch.arange(4)]

    module = unlift(trace(Written(), (torch.randn(2, 6),)))
    targets = [str(node.target) for node in constant_integers(module)]
    assert targets.count("aten.arange.default") == 1
