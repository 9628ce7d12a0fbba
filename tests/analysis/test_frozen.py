"""What can't be cut, with its reason, its place and its cost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.analysis.frozen import frozen, operator_of, unknown_operators
from tests import nets
from tests.analysis.helpers import analysed


def test_an_unknown_operator_freezes_what_it_touches_and_is_named_with_its_cost() -> None:
    net = nets.UnknownOperator()
    analysis = analysed(net)
    assert [str(n.target) for n in unknown_operators(analysis)] == ["aten.renorm.default"]
    entry = next(f for f in frozen(analysis) if f.unknown)
    assert entry.operator == "aten.renorm.default"
    assert entry.where.startswith("nets.py:")
    assert set(entry.axes) == {"a.weight:0", "b.weight:1"}
    assert entry.channels == 32
    a, b = 64 * 9 * 3 * 16, 64 * 9 * 16 * 16
    assert entry.macs_share == (a + b) / analysis.dense_macs
    assert {g.id for g in analysis.groups} == {"b", "c"}


def test_inputs_and_outputs_are_frozen_with_their_reason() -> None:
    reasons = {f.reason for f in frozen(analysed(nets.GroupedConv()))}
    assert reasons == {"model input x", "model output"}


def test_the_largest_share_comes_first_and_none_is_more_than_all() -> None:
    found = frozen(analysed(nets.UnknownOperator()))
    shares = [each.macs_share for each in found]
    assert shares == sorted(shares, reverse=True)
    assert all(0 < share <= 1 for share in shares)


def test_a_statistic_says_what_would_open_it() -> None:
    net = nets.HELD["LayerNormed"]()
    (entry,) = (f for f in frozen(analysed(net)) if f.reason.startswith("mix: "))
    assert "layer_norm" in entry.operator
    assert "allow_inexact" in entry.reason
    assert not entry.unknown


def test_a_node_is_named_by_what_it_calls() -> None:
    analysis = analysed(nets.GroupedConv())
    names = [operator_of(node) for node in analysis.module.graph.nodes]
    assert "aten.conv2d.default" in names
    assert names[-1] == "output"
    assert {"placeholder", "get_attr"} <= set(names)


class Computed(nn.Linear):
    """A layer whose weight goes through an operator without a rule."""

    def __init__(self, inputs: int, outputs: int, compute: Callable[[Tensor], Tensor]) -> None:
        super().__init__(inputs, outputs)
        self.compute = compute

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.compute(self.weight), self.bias)


def renormed(weight: Tensor) -> Tensor:
    return weight.renorm(2, 0, 1.0)


def flat(weight: Tensor) -> Tensor:
    return weight.reshape(1, -1).renorm(2, 0, 1.0).reshape(weight.shape) * 2


def widened(weight: Tensor) -> Tensor:
    return torch.cat([weight, weight]).renorm(2, 0, 1.0)[: len(weight)]


@pytest.mark.parametrize("compute", [renormed, flat, widened])
def test_a_reason_is_followed_through_weights_that_are_computed(
    compute: Callable[[Tensor], Tensor],
) -> None:
    net = nn.Sequential(Computed(6, 16, compute), nn.ReLU(), Computed(16, 4, compute))
    (entry,) = (f for f in frozen(analysed_on(net, 6)) if f.unknown)
    assert entry.reason == "no rule for aten.renorm.default"
    assert {"0.weight:0", "2.weight:1"} <= set(entry.axes)
    assert entry.macs_share == 1
    with pytest.raises(gp.GraphpruneError) as failure:
        gp.compress(net, (torch.randn(2, 6),), flops=0.5)
    assert "aten.renorm" in failure.value.hint


class Extreme(nn.Module):
    """A layer without a product that costs MACs: the largest of weighted inputs."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return (x[:, :, None] * self.weight).amax(1)


def test_parameters_of_layers_without_macs_have_a_reason() -> None:
    entries = frozen(analysed_on(nn.Sequential(Extreme(6, 8), Extreme(8, 4)), 6))
    (entry,) = (f for f in entries if "amax" in f.operator)
    assert set(entry.axes) == {"0.weight:1", "1.weight:0"}
    assert (entry.channels, entry.macs_share) == (16, 0.0)


def analysed_on(net: nn.Module, inputs: int) -> Analysis:
    return gp.inspect(net, (torch.randn(2, inputs),))
