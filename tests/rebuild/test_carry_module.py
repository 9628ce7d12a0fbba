"""Averages of a model, cut as the model was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import graphprune as gp
from graphprune.errors import MismatchError
from tests import nets

KINDS = ["SqueezeExcite", "TiedWeights", "RmsNormed", "WeightStandardised", "Chunked"]
"""Own class; shared weights; parameters that take over factors; stored results; a GraphModule."""


def moved(net: nn.Module, seed: int) -> nn.Module:
    """The network with all its floats moved a little, as later in training."""
    torch.manual_seed(seed)
    later = copy.deepcopy(net)
    with torch.no_grad():
        for tensor in [*later.parameters(), *later.buffers()]:
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand_like(tensor))
    return later


def same(a: nn.Module, b: nn.Module, inputs: tuple[Any, ...]) -> bool:
    with torch.no_grad():
        outputs = [copy.deepcopy(each).eval()(*inputs) for each in (a, b)]
    flat = [torch.utils._pytree.tree_leaves(each) for each in outputs]
    return all(torch.allclose(x, y, rtol=0, atol=1e-6) for x, y in zip(*flat, strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_an_average_is_cut_as_the_model_was(name: str) -> None:
    torch.manual_seed(0)
    net: Any = nets.NETS[name]()
    other = moved(net, 1)
    result = gp.compress(net, net.inputs(), flops=0.6)
    expected = gp.apply(result.plan, other, net.inputs())  # cut and verified by itself
    carried = result.carry(other)
    assert type(carried).__name__ == type(expected).__name__
    assert same(carried, expected, net.inputs())
    assert not same(carried, result.model, net.inputs())
    assert [n for n, _ in carried.named_parameters()] == [
        n for n, _ in result.model.named_parameters()
    ]
    loaded = copy.deepcopy(result.model)
    loaded.load_state_dict(result.carry(other.state_dict()))
    assert same(loaded, expected, net.inputs())


def test_an_averaged_model_goes_on_averaging() -> None:
    net: Any = nets.NETS["SqueezeExcite"]()
    averaged = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    for seed in (1, 2):
        averaged.update_parameters(moved(net, seed))
    result = gp.compress(net, net.inputs(), flops=0.5)
    carried: Any = result.carry(averaged)
    assert type(carried) is AveragedModel
    assert type(carried.module) is type(net)
    assert carried.n_averaged == averaged.n_averaged == 2
    before = carried.module.a.weight.clone()
    carried.update_parameters(result.model)
    assert torch.allclose(carried.module.a.weight, 0.9 * before + 0.1 * result.model.a.weight)
    assert averaged.module.a.weight.shape == net.a.weight.shape


def test_a_state_dict_keeps_its_prefix_its_counters_and_its_types() -> None:
    net: Any = nets.NETS["SqueezeExcite"]()
    averaged = AveragedModel(net)
    result = gp.compress(net, net.inputs(), flops=0.5)
    half = {n: v.half() if v.is_floating_point() else v for n, v in averaged.state_dict().items()}
    carried = result.carry(half)
    assert carried.keys() == half.keys()
    assert {v.dtype for v in carried.values() if v.is_floating_point()} == {torch.float16}
    small: Any = AveragedModel(result.model)
    small.load_state_dict(carried)
    assert torch.allclose(small.module.a.weight, result.model.a.weight, atol=1e-3)


def test_weights_of_another_architecture_are_refused() -> None:
    net: Any = nets.NETS["SqueezeExcite"]()
    result = gp.compress(net, net.inputs(), flops=0.5)
    with pytest.raises(MismatchError, match="a Linear can't be cut as the SqueezeExcite was"):
        result.carry(nn.Linear(2, 2))
    with pytest.raises(MismatchError, match=r"another architecture: 'a\.weight'"):
        result.carry(result.model)
    with pytest.raises(MismatchError, match="'more'"):
        result.carry({**net.state_dict(), "more": torch.ones(2)})
    with pytest.raises(MismatchError, match=r"a\.bias"):
        result.carry({n: v for n, v in net.state_dict().items() if n != "a.bias"})


def test_a_program_takes_state_dicts() -> None:
    torch.manual_seed(0)
    net: Any = nets.NETS["SqueezeExcite"]()
    other = moved(net, 1)
    result = gp.compress(gp.trace(net, net.inputs()), flops=0.5)
    loaded = copy.deepcopy(result.model)
    loaded.load_state_dict(result.carry(other.state_dict()))
    assert same(loaded, gp.apply(result.plan, other, net.inputs()), net.inputs())


def test_a_hook_of_the_class_may_add_entries_to_the_state_dict() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))

    def add(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
        state[f"{prefix}added"] = torch.ones(2)
        del state[f"{prefix}2.bias"]

    net.register_state_dict_post_hook(add)
    result = gp.compress(net, (torch.randn(2, 4),), flops=0.5, any_width=True)
    state = result.carry(net.state_dict())
    assert state.keys() == net.state_dict().keys()
    for name, value in result.model.state_dict().items():
        assert torch.equal(state[name], value)
