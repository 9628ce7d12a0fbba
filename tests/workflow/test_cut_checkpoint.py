"""Checkpoints of training runs, cut as their model was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import graphprune as gp
from graphprune.errors import OptionError
from graphprune.rebuild.model_pair import ModelPair
from graphprune.workflow.apply_plan import apply_plan
from graphprune.workflow.cut_checkpoint import cut_checkpoint
from tests import nets


def two_groups(net: nn.Module) -> torch.optim.Optimizer:
    """Weights in reverse order with decay, the others without."""
    weights = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim == 1]
    return torch.optim.AdamW([
        {"params": weights[::-1], "weight_decay": 0.1},
        {"params": others, "lr": 0.3},
    ])


def one_group(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)


def named(net: nn.Module) -> torch.optim.Optimizer:
    every = [(f"module.{n}", p) for n, p in net.named_parameters()]
    biases = [(n, p) for n, p in every if p.ndim == 1]
    weights = [(n, p) for n, p in every if p.ndim > 1]
    return torch.optim.Adam([{"params": biases}, {"params": weights}])


def trained(name: str, make: Any) -> tuple[Any, torch.optim.Optimizer]:
    torch.manual_seed(0)
    net: Any = nets.NETS[name]()
    optimizer = make(net)
    for _ in range(2):
        optimizer.zero_grad()
        net(*net.inputs()).square().sum().backward()
        optimizer.step()
    return net, optimizer


def pair_of(net: Any) -> ModelPair:
    plan = gp.compress(net, net.inputs(), flops=0.5).plan
    return apply_plan(plan, net, net.inputs())


@pytest.mark.parametrize("name", ["SqueezeExcite", "TiedWeights", "WeightStandardised"])
@pytest.mark.parametrize("make", [one_group, two_groups, named])
def test_training_resumes_from_the_file_as_from_memory(name: str, make: Any) -> None:
    net, optimizer = trained(name, make)
    pair = pair_of(net)
    content = {
        "epoch": 7,
        "model": nn.DataParallel(net).state_dict(),
        "more": {"average": AveragedModel(net).state_dict(), "best": 0.5},
        "optimizer": optimizer.state_dict(),
    }
    before = copy.deepcopy(content)
    done = cut_checkpoint(content, pair, make if make is two_groups else None)
    assert done.cut == {"model": "weights", "more.average": "weights", "optimizer": "optimiser"}
    assert (done.kept, done.doubtful) == (["epoch", "more.best"], [])
    assert list(done.content) == list(content)
    torch.testing.assert_close(content["model"], before["model"])
    resumed = nn.DataParallel(copy.deepcopy(pair.small))
    resumed.load_state_dict(done.content["model"])
    averaged = AveragedModel(copy.deepcopy(pair.small))
    averaged.load_state_dict(done.content["more"]["average"])
    again = make(resumed.module)
    again.load_state_dict(done.content["optimizer"])
    small, carried = pair.small, gp.Result.carry(Holding(pair), optimizer)  # type: ignore[arg-type]
    for model, each in ((small, carried), (resumed.module, again)):
        torch.manual_seed(1)
        each.zero_grad()
        model.train()
        model(*net.inputs()).square().sum().backward()
        each.step()
    for a, b in zip(small.parameters(), resumed.module.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-7)


class Holding:
    """All that ``carry`` needs of a result."""

    def __init__(self, pair: ModelPair) -> None:
        self.pair = pair


def test_weights_alone_are_a_checkpoint_too() -> None:
    net, _ = trained("SqueezeExcite", one_group)
    pair = pair_of(net)
    done = cut_checkpoint(net.state_dict(), pair)
    assert done.cut == {"": "weights"}
    pair.small.load_state_dict(done.content)


def test_modules_are_cut_too() -> None:
    net, _ = trained("SqueezeExcite", one_group)
    pair = pair_of(net)
    done = cut_checkpoint({"model": net, "ema": AveragedModel(net)}, pair)
    assert type(done.content["model"]) is type(net)
    assert type(done.content["ema"]) is AveragedModel
    assert done.content["model"].a.weight.shape == pair.small.get_parameter("a.weight").shape


def test_tensors_that_fit_nothing_are_named() -> None:
    net, _ = trained("SqueezeExcite", one_group)
    pair = pair_of(net)
    shadow = [p.detach().clone() for p in net.parameters()]
    content = {
        "model": net.state_dict(),
        "shadow": shadow,
        "critic": nn.Linear(4, 4).state_dict(),
        "random": torch.get_rng_state(),
        "schedule": {"last_epoch": 3, "base_lrs": [0.1]},
    }
    done = cut_checkpoint(content, pair)
    assert done.content["shadow"] is shadow
    assert done.doubtful == ["shadow", "critic"]
    assert done.kept == ["random", "schedule"]


def test_numbers_that_stand_for_nothing_known_are_refused() -> None:
    net, optimizer = trained("SqueezeExcite", two_groups)
    pair = pair_of(net)
    content = {"model": net.state_dict(), "optimizer": optimizer.state_dict()}
    with pytest.raises(OptionError, match="which parameters the numbers") as failure:
        cut_checkpoint(content, pair)
    assert failure.value.options == ("optimizer",)
    with pytest.raises(OptionError, match=r"has groups of \d+ parameters"):
        cut_checkpoint(content, pair, one_group)


def test_an_optimiser_of_what_is_trained_has_fewer_numbers() -> None:
    net, _ = trained("SqueezeExcite", one_group)
    net.a.requires_grad_(requires_grad=False)
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad])
    net(*net.inputs()).sum().backward()
    optimizer.step()
    pair = pair_of(net)
    done = cut_checkpoint({"model": net.state_dict(), "o": optimizer.state_dict()}, pair)
    small = [p for p in pair.small.parameters() if p.requires_grad]
    again = torch.optim.Adam(small)
    again.load_state_dict(done.content["o"])
    assert all(again.state[p]["exp_avg"].shape == p.shape for p in small)


class Lit(nn.Module):
    """A module of Lightning in outline: the model, an average of it, and the weights of a loss."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.ema = net, copy.deepcopy(net)
        self.register_buffer("classes", torch.ones(5))


@pytest.mark.parametrize("name", ["SqueezeExcite", "TiedWeights", "WeightStandardised"])
def test_a_checkpoint_of_lightning(name: str) -> None:
    """States of optimisers are in a list there, and the model is a part of what is trained."""
    net, optimizer = trained(name, one_group)
    pair, lit = pair_of(net), Lit(net)
    content = {
        "state_dict": lit.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [{"last_epoch": 1, "base_lrs": [0.1]}],
        "hyper_parameters": {"width": 32},
        "callbacks": {"Best": {"score": torch.tensor(1.0)}},
    }
    done = cut_checkpoint(content, pair)
    assert done.cut == {"state_dict": "weights", "optimizer_states.0": "optimiser"}
    assert done.doubtful == []
    assert set(done.kept) >= {"hyper_parameters", "lr_schedulers.0"}
    small = Lit(copy.deepcopy(pair.small))
    small.load_state_dict(done.content["state_dict"])
    small.ema.load_state_dict(pair.small.state_dict())
    again = one_group(small.net)
    again.load_state_dict(done.content["optimizer_states"][0])
    shapes = [again.state[p]["momentum_buffer"].shape for p in small.net.parameters()]
    assert shapes == [p.shape for p in pair.small.parameters()]
