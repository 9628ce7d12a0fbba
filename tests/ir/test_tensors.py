"""Tensors put in the place of others."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphprune.errors import InternalError
from graphprune.ir.program import state, unlift
from graphprune.ir.tensors import add_tensor, fill_tensors, free_name, set_tensor
from graphprune.ir.trace import trace
from tests import nets


def test_a_parameter_a_buffer_and_a_new_constant_are_set_by_name() -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    weight = nn.Parameter(torch.ones(4, 3))
    set_tensor(net, "0.weight", weight)
    set_tensor(net, "1.running_mean", torch.ones(2))
    set_tensor(net, "1.extra", torch.ones(5))
    assert net[0].weight is weight
    assert dict(net.named_buffers())["1.running_mean"].tolist() == [1, 1]
    assert net.state_dict()["1.extra"].shape == (5,)
    assert "0.weight" in dict(net.named_parameters())


def test_filled_tensors_are_copies_in_the_dtype_of_the_graph() -> None:
    net = nets.SqueezeExcite()
    graph = unlift(trace(net, net.inputs()))
    name, old = next((n, t) for n, t in state(graph).items() if isinstance(t, nn.Parameter))
    new = torch.full(old.shape, 2.0, dtype=torch.float64)
    fill_tensors(graph, {name: new})
    found = state(graph)[name]
    assert isinstance(found, nn.Parameter)
    assert found.dtype == old.dtype
    assert bool((found == 2).all())
    new.zero_()
    assert bool((found == 2).all())
    own = {tensor.data_ptr() for tensor in net.state_dict().values() if tensor.numel()}
    assert own.isdisjoint(t.data_ptr() for t in state(graph).values() if t.numel())


def test_what_is_one_tensor_stays_one() -> None:
    net = nets.NETS["TiedWeights"]()
    graph = unlift(trace(net, net.inputs()))
    before = {name: id(tensor) for name, tensor in state(graph).items()}
    fill_tensors(graph, {})
    after = {name: id(tensor) for name, tensor in state(graph).items()}
    assert len(set(before.values())) == len(set(after.values())) < len(before)


def test_another_shape_is_a_defect_of_ours() -> None:
    net = nets.SqueezeExcite()
    graph = unlift(trace(net, net.inputs()))
    name = next(iter(state(graph)))
    with pytest.raises(InternalError, match=rf"{name}: \(1, 7\) for"):
        fill_tensors(graph, {name: torch.zeros(1, 7)})


def test_a_new_tensor_may_lie_in_modules_that_are_missing() -> None:
    net = nn.Module()
    add_tensor(net, "a.b.weight", nn.Parameter(torch.ones(2)))
    add_tensor(net, "a.mean", torch.ones(3))
    add_tensor(net, "top", torch.ones(4))
    assert dict(net.named_parameters()).keys() == {"a.b.weight"}
    assert dict(net.named_buffers()).keys() == {"a.mean", "top"}


def test_a_free_name_is_found_however_many_are_taken() -> None:
    assert free_name("w", [], ["v"]) == "w"
    assert free_name("w", ["w"], []) == "w1"
    assert free_name("w", [], ["w", "w0", "w1"]) == "w2"
