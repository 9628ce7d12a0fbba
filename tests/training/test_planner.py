"""Plans for the weights of the moment."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import graphprune as gp
from graphprune.errors import InfeasibleBudgetError, LoadError, MismatchError, OptionError
from graphprune.plan.budget import Budget
from graphprune.training.planner import Planner
from graphprune.training.planning import Planning
from graphprune.workflow.options import Options

from .loop import Net, data, net


@pytest.fixture
def alone(tmp_path: Path) -> Generator[None]:
    """A process group of this process alone."""
    distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def planner(model: torch.nn.Module, *budgets: Budget, **options: Any) -> Planner:
    how = Options(score="l2", recover="none", **options)
    planning = Planning(model, (data()[0][:2],), None, None, 1, how, None)
    return Planner(planning, budgets or (Budget.flops(0.5),))


def test_a_plan_is_by_the_live_weights() -> None:
    model = net()
    made = planner(model)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    want = gp.compress(model, (data()[0][:2],), flops=0.5).plan
    assert made.plan().plan == want


def test_budgets_on_the_way_are_met() -> None:
    made = planner(net(), Budget.flops(0.5), Budget.params(0.4))
    for share in (0.25, 0.5, 1.0):
        plan = made.plan(share).plan
        for status, bound in zip(made.reached(plan), (0.5, 0.4), strict=True):
            assert status.reached <= status.dense * (1 - (1 - bound) * share) + 1e-6
    assert all(status.reached == status.dense for status in made.reached(None))


def test_the_cost_of_a_channel_is_what_its_removal_saves() -> None:
    """MACs per pixel: stem 3 * 9 * w, up 9 * w * v, down the same; the head's are per image."""
    found = planner(net()).cost_per_channel()
    w, v = 12, 24
    dense = 36 * (27 * w + 18 * w * v) + 4 * w
    assert found == pytest.approx([(36 * (27 + 18 * v) + 4) / dense, 36 * 18 * w / dense])


def test_what_stays_whole_has_no_cost() -> None:
    made = planner(net(), Budget.flops(0.7), protect=("stem",))
    assert [g.id for g in made.analysis.groups] == ["stem", "up"]
    first, second = made.cost_per_channel()
    assert first == 0
    assert second > 0


def test_a_budget_out_of_reach_is_refused_at_once() -> None:
    with pytest.raises(InfeasibleBudgetError):
        planner(net(), Budget.flops(0.0001))


def test_weights_of_a_training_that_diverged_are_refused() -> None:
    model = net()
    made = planner(model)
    with torch.no_grad():
        model.up.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(LoadError, match=r"NaN or Inf in 'up\.weight'"):
        made.plan()


def test_plans_of_other_models_are_refused() -> None:
    other = gp.compress(Net(width=8).double(), (data()[0][:2],), flops=0.5).plan
    with pytest.raises(MismatchError):
        planner(net()).check(other)


@pytest.mark.usefixtures("alone")
def test_shards_are_refused_as_what_is_planned_on_would_be_a_copy() -> None:
    class Sharded(Net):
        """Its class is changed by ``fully_shard``."""

    model = Sharded().double()
    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    with pytest.raises(OptionError, match="is a copy of what is trained") as failure:
        planner(model)
    assert "DistributedDataParallel" in failure.value.hint


@pytest.mark.usefixtures("alone")
def test_wrappers_hold_the_live_parameters() -> None:
    model = net()
    made = planner(torch.compile(DistributedDataParallel(model), backend="eager"))
    assert made.analysis.tensors["up.weight"] is model.up.weight
