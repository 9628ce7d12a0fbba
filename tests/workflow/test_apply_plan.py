"""A plan applied to a model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import graphprune as gp
from graphprune.errors import MismatchError
from graphprune.workflow.apply_plan import apply_plan
from tests import nets


def test_the_smaller_model_is_that_of_the_run_that_made_the_plan() -> None:
    net: Any = nets.NETS["SqueezeExcite"]()
    result = gp.compress(net, net.inputs(), flops=0.5)
    pair = apply_plan(result.plan, net, net.inputs())
    assert (pair.given, pair.dense, pair.own_class) == (net, net, True)
    state = result.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in pair.small.state_dict().items())


def test_another_checkpoint_is_cut_and_another_architecture_refused() -> None:
    net: Any = nets.SqueezeExcite()
    result = gp.compress(net, net.inputs(), flops=0.5)
    other = nets.SqueezeExcite()
    small = gp.apply(gp.Plan.from_json(result.plan.to_json()), other, other.inputs())
    assert small.a.weight.shape == result.model.a.weight.shape
    kept = list(result.plan.keep["a"])
    assert torch.equal(small.a.weight, other.a.weight[kept])
    stranger = nets.GroupedConv()
    with pytest.raises(MismatchError):
        gp.apply(result.plan, stranger, stranger.inputs())


def test_the_optimiser_comes_along() -> None:
    net: Any = nets.NETS["SqueezeExcite"]()
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    net(*net.inputs()).sum().backward()
    optimizer.step()
    result = gp.compress(net, net.inputs(), flops=0.5)
    model, carried = gp.apply(result.plan, net, net.inputs(), optimizer=optimizer)
    assert carried.param_groups[0]["params"] == [*model.parameters()]
    again = result.carry(optimizer)
    for a, b in zip(model.parameters(), result.model.parameters(), strict=True):
        left, right = (o.state[p]["momentum_buffer"] for o, p in ((carried, a), (again, b)))
        assert torch.equal(left, right)
    other: Any = nets.NETS["OptionAShortcut"]()
    with pytest.raises(MismatchError):
        gp.apply(result.plan, other, other.inputs(), optimizer=optimizer)
