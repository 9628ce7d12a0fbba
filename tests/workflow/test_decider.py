"""What decides the widths: budgets, a plan, or what is redundant; and the passes on the way to it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.cli import compress_options
from graphprune.data.calibration import gather
from graphprune.errors import OptionError
from graphprune.passes import Allocate, Choose, Decision, LosslessPlan
from graphprune.passes.latency import ProfileLatency
from graphprune.passes.tune_latency import SettleLatency, TuneLatency
from graphprune.plan.latency_table import LatencyTable
from graphprune.workflow.decider import (
    beside_plan,
    branches_may_go,
    chooser_of,
    deciding_passes,
)
from graphprune.workflow.options import Options
from tests import nets


@pytest.fixture(scope="module")
def net() -> nets.Net:
    return nets.NETS["OptionAShortcut"]()


@pytest.fixture(scope="module")
def dense(net: nets.Net) -> gp.State:
    return gp.State(gp.trace(net, net.inputs()))


@pytest.fixture(scope="module")
def with_data(dense: gp.State) -> gp.State:
    return dense.knowing(gather([torch.randn(16, 3, 8, 8)], dense.program))


@pytest.fixture(scope="module")
def plan(net: nets.Net) -> gp.Plan:
    allocator = Allocate(budget=gp.Budget.flops(0.5))
    return gp.decide(net, net.inputs(), allocator=allocator)[Decision].plan


FREE = dict.fromkeys(("flops", "params", "latency", "memory", "size"))


def test_what_is_asked_for_decides() -> None:
    half = FREE | {"flops": 0.5, "size": "1MB"}
    budgets = gp.Budget.flops(0.5), gp.Budget.size("1MB")
    for lossless in (False, True):  # what is redundant goes first
        made = chooser_of(Options(min_channels=2, lossless=lossless), half)
        assert made == Options(min_channels=2).allocator(*budgets)
    assert isinstance(chooser_of(Options(lossless=True), FREE), LosslessPlan)
    all_of_it = chooser_of(Options(outputs=["0"]), FREE)
    assert all_of_it == Options().allocator(gp.Budget("macs", 1.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give a budget"),
        ({"lossless": True, "recover": "ls"}, "nothing that recover could repair"),
        ({"lossless": True, "finetune": 1}, "nothing that finetune could repair"),
        ({"lossless": True, "round_to": "auto"}, "no use for these options"),
        ({"lossless": True, "allocate": "erk"}, "no use for these options"),
        ({"lossless": True, "depth": True}, "no use for these options"),
    ],
)
def test_what_contradicts_itself_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        chooser_of(Options(**options), FREE)


CHOOSING: dict[str, Any] = {
    "allocate": "erk",
    "round_to": 8,
    "min_channels": 2,
    "max_cut": 0.5,
    "protect": ("fc",),
    "keep_class": True,
    "any_width": True,
    "uniform": ("*",),
    "keep_config": True,
    "depth": True,
    "allow_inexact": True,
    "lossless": True,
}


@pytest.mark.parametrize("name", sorted(compress_options.DEFAULTS.keys() - {"score"}))
def test_beside_a_plan_nothing_chooses_one(name: str, net: nets.Net, plan: gp.Plan) -> None:
    with pytest.raises(OptionError, match="a plan decides already") as caught:
        gp.compress(net, net.inputs(), plan=plan, **{name: CHOOSING[name]})
    assert caught.value.options == (name,)


def test_beside_a_plan_there_is_no_budget(plan: gp.Plan) -> None:
    with pytest.raises(OptionError, match="a budget or a plan, not both") as caught:
        beside_plan(Options(), FREE | {"latency": 0.5}, plan)
    assert caught.value.options == ("plan", "latency")
    assert beside_plan(Options(), FREE, plan) == Options(score="l2")
    assert beside_plan(Options(protect=[], uniform=""), FREE, plan).score == "l2"


def test_a_missing_budget_is_asked_for_without_flags() -> None:
    with pytest.raises(OptionError) as caught:
        gp.compress(nn.Linear(6, 3), (torch.randn(2, 6),))
    assert "--" not in str(caught.value)
    assert "flops" in caught.value.options


def test_repaired_plans_are_compared(dense: gp.State, with_data: gp.State) -> None:
    allocate = Allocate(budget=gp.Budget.flops(0.5))
    assert deciding_passes(Options(), allocate, dense) == (allocate,)
    assert deciding_passes(Options(), allocate, with_data) == (Choose(allocate),)
    timed = Allocate(budget=gp.Budget.latency(0.5))
    profile = ProfileLatency()
    assert deciding_passes(Options(), timed, dense) == (
        profile,
        TuneLatency(allocate=timed, profile=profile),
        timed,
        SettleLatency(allocate=timed, profile=profile),
    )


@pytest.mark.parametrize(
    ("given", "may"),
    [
        ({}, True),
        ({"latency": None}, False),
        ({"calibration": None}, False),
        ({"table": ProfileLatency()}, True),
        ({"table": LatencyTable({}, 1.0, 1.0)}, False),
        ({"recover": "ls"}, True),
        ({"recover": "none"}, False),
    ],
)
def test_branches_may_go_where_times_and_data_are_measured(
    given: dict[str, Any], may: bool
) -> None:
    known: dict[str, Any] = {"latency": 0.5, "table": None, "calibration": [torch.ones(1)]}
    assert branches_may_go(None, **(known | given)) == may
    assert branches_may_go(True, **(known | given))
    assert not branches_may_go(False, **(known | given))
