"""What decides the widths: budgets, a plan, or what is redundant; and the passes on the way to it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.data.calibration import gather
from graphprune.errors import OptionError
from graphprune.passes import Allocate, Choose, Decision, LosslessPlan
from graphprune.passes.allocate.given_plan import GivenPlan
from graphprune.passes.latency import ProfileLatency
from graphprune.passes.tune_latency import SettleLatency, TuneLatency
from graphprune.plan.latency_table import LatencyTable
from graphprune.workflow.decider import branches_may_go, decider_of, deciding_passes
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


def test_what_is_asked_for_decides(plan: gp.Plan) -> None:
    half = FREE | {"flops": 0.5, "size": "1MB"}
    budgets = gp.Budget.flops(0.5), gp.Budget.size("1MB")
    for lossless in (False, True):  # what is redundant goes first
        made = decider_of(Options(min_channels=2), half, None, lossless=lossless)
        assert made == Options(min_channels=2).allocator(*budgets)
    assert decider_of(Options(), FREE, plan, lossless=False) == GivenPlan(plan=plan)
    assert isinstance(decider_of(Options(), FREE, None, lossless=True), LosslessPlan)
    all_of_it = decider_of(Options(outputs=["0"]), FREE, None, lossless=False)
    assert all_of_it == Options().allocator(gp.Budget("macs", 1.0))


@pytest.mark.parametrize(
    ("options", "amounts", "lossless", "given", "message"),
    [
        ({}, {}, False, False, "give a budget"),
        ({}, {"flops": 0.5}, False, True, "a budget or a plan, not both"),
        ({}, {}, True, True, "a plan says itself"),
        ({"recover": "ls"}, {}, True, False, "nothing that recover could repair"),
        ({"finetune": 1}, {}, True, False, "nothing that finetune could repair"),
        ({"round_to": "auto"}, {}, True, False, "no use for these options"),
        ({"allocate": "erk"}, {}, True, False, "no use for these options"),
        ({"depth": True}, {}, True, False, "no use for these options"),
    ],
)
def test_what_contradicts_itself_is_refused(
    plan: gp.Plan,
    options: dict[str, Any],
    amounts: dict[str, Any],
    lossless: bool,
    given: bool,
    message: str,
) -> None:
    with pytest.raises(OptionError, match=message):
        decider_of(Options(**options), FREE | amounts, plan if given else None, lossless=lossless)


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
