"""A program is freed of redundant channels before anything else is decided."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.errors import MismatchError, OptionError
from graphprune.ir.trace import trace
from graphprune.passes import Redundant
from graphprune.pipeline import State
from graphprune.workflow.free_channels import free_channels

INPUTS = (torch.randn(2, 4),)


def twins() -> nn.Sequential:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        net[0].weight[5], net[0].bias[5] = net[0].weight[2], net[0].bias[2]
        net[0].weight[6], net[0].bias[6] = 0, 0
    return net.eval()


def test_all_channels_that_are_found() -> None:
    state = free_channels(State(trace(twins(), INPUTS)))
    assert state[Redundant].channels == {"0": (5, 6)}
    weight = dict(state.program.named_parameters())["2.weight"]
    assert weight[:, [5, 6]].abs().max() == 0


def test_those_that_a_plan_wants() -> None:
    program = trace(twins(), INPUTS)
    assert free_channels(State(program), {"0": (6,)})[Redundant].channels == {"0": (6,)}
    assert free_channels(State(program), {}).program is program
    with pytest.raises(MismatchError):
        free_channels(State(program), {"0": (4,)})


def test_averages_are_refused_where_weights_took_over() -> None:
    net = twins()
    optimizer = torch.optim.Adam(net.parameters())
    small = gp.compress(net, INPUTS, lossless=True)
    with pytest.raises(OptionError, match="lossless for the model's own"):
        small.carry(net.state_dict())
    assert small.carry(optimizer).param_groups[0]["params"][0].shape == (6, 4)
    with torch.no_grad():
        net[0].weight[5] += 1
    assert small.plan.redundant != gp.compress(net, INPUTS, lossless=True).plan.redundant
    zero_only = gp.compress(net, INPUTS, lossless=True)
    assert zero_only.carry(net.state_dict())["0.weight"].shape == (7, 4)
