"""Averages of networks of one plan."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.errors import LoadError, MismatchError, OptionError


def make(seed: int, width: int = 8) -> nn.Sequential:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.5),
        nn.Conv2d(width, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip
    with torch.no_grad():
        model[1].running_mean += seed  # type: ignore[operator]
    return model.eval()


def test_all_weights_are_means_and_members_stay_as_they_are() -> None:
    models = [make(seed) for seed in range(3)]
    before = copy.deepcopy([model.state_dict() for model in models])
    mixed = gp.soup(models)
    for name, value in mixed.state_dict().items():
        if value.is_floating_point():
            want = sum(state[name].double() for state in before) / 3  # type: ignore[arg-type]
            torch.testing.assert_close(value, want.to(value))  # type: ignore[union-attr]
    for model, state in zip(models, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("form", [lambda x: x, lambda x: (x,), lambda x: {"input": x}])
def test_batchnorm_statistics_are_those_of_the_mixed_network(form: object) -> None:
    batches = [torch.randn(16, 3, 8, 8) for _ in range(4)]
    mixed = gp.soup([make(0), make(1)], calibration=[form(x) for x in batches])  # type: ignore[operator]
    with torch.no_grad():
        seen = mixed[0](torch.cat(batches))  # type: ignore[index]
    torch.testing.assert_close(mixed[1].running_mean, seen.mean((0, 2, 3)), atol=1e-5, rtol=1e-5)  # type: ignore[index]
    assert not mixed.training
    assert mixed[1].momentum == 0.1  # type: ignore[index]


def test_calibration_without_a_batch_is_refused() -> None:
    """Statistics that were to be estimated aren't averaged silently, as with a generator that was used up."""
    with pytest.raises(OptionError, match="no batch"):
        gp.soup([make(0), make(1)], calibration=iter(()))


def test_a_greedy_soup_leaves_out_what_makes_it_worse() -> None:
    good, other = make(0), make(0)
    with torch.no_grad():
        other[7].bias += 0.1  # type: ignore[operator]
    bad = make(9)
    target = copy.deepcopy(good)
    with torch.no_grad():
        target[7].bias += 0.05  # type: ignore[operator]
    x = torch.randn(8, 3, 8, 8)

    def judge(model: nn.Module) -> float:
        with torch.no_grad():
            return -float((model(x) - target(x)).square().mean())

    mixed = gp.soup([bad, good, other], judge=judge)
    torch.testing.assert_close(mixed[7].bias, target[7].bias)  # type: ignore[index]
    alone = gp.soup([target, bad], judge=judge)
    assert torch.equal(alone[7].weight, target[7].weight)  # type: ignore[index]


def test_other_plans_are_refused_though_their_shapes_are_the_same() -> None:
    model, x = make(0), (torch.randn(2, 3, 8, 8),)
    result = gp.compress(model, x, flops=0.5)
    gp.soup([result, result])
    first = result.plan.groups[0]
    moved = tuple(i for i in range(first.width) if i not in first.keep)[: len(first.keep)]
    keep = tuple(sorted({*moved, *first.keep[len(moved) :]}))
    assert keep != first.keep
    assert len(keep) == len(first.keep)
    groups = (replace(first, keep=keep), *result.plan.groups[1:])
    other = replace(result, plan=replace(result.plan, groups=groups))
    with pytest.raises(MismatchError, match="keep other channels"):
        gp.soup([result, other])


def test_networks_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(OptionError, match="at least one"):
        gp.soup([])
    with pytest.raises(MismatchError, match=r"member 1 has another 0\.bias"):
        gp.soup([make(0), make(0, width=6)])
    with pytest.raises(MismatchError, match="Linear"):
        gp.soup([make(0), nn.Linear(3, 3)])
    broken = make(1)
    with torch.no_grad():
        broken[7].bias[0] = float("nan")  # type: ignore[index]
    with pytest.raises(LoadError, match="member 1"):
        gp.soup([make(0), broken])


def test_graphs_of_one_plan_are_averaged() -> None:
    a, b = (torch.fx.symbolic_trace(make(seed)) for seed in (0, 1))
    want = (a.get_parameter("0.weight") + b.get_parameter("0.weight")) / 2
    torch.testing.assert_close(gp.soup([a, b]).get_parameter("0.weight"), want)


class Versioned(nn.Sequential):
    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def set_extra_state(self, state: dict[str, int]) -> None:
        assert state == {"version": 1}


def test_extra_state_is_the_first_one_s() -> None:
    mixed = gp.soup([Versioned(*make(seed)) for seed in range(2)])
    assert mixed.state_dict()["_extra_state"] == {"version": 1}
