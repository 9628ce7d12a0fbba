"""A plan that was made before, in the place of a decision."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.errors import MismatchError, PlanError
from graphprune.ir.trace import trace
from graphprune.passes import Allocate, Analyse, Decision, Score, Scores
from graphprune.passes.allocate.given_plan import GivenPlan
from graphprune.plan.latency_table import LatencyTable
from tests import nets
from tests.passes.latency.helpers import decided, made


@pytest.fixture(scope="module")
def scored() -> gp.State:
    torch.manual_seed(0)
    net = nets.GroupedConv()
    return gp.Pipeline((Analyse(), Score())).run(trace(net, net.inputs()))


@pytest.fixture(scope="module")
def decision(scored: gp.State) -> Decision:
    return Allocate(budget=gp.Budget.flops(0.5)).run(scored)


def given(plan: gp.Plan, state: gp.State) -> Decision:
    pipeline = gp.Pipeline((GivenPlan(plan=plan),), given=tuple(state.facts))
    return pipeline.run(state)[Decision]


def test_a_plan_gives_the_decision_that_it_came_from(scored: gp.State, decision: Decision) -> None:
    found = given(gp.Plan.from_json(decision.plan.to_json()), scored)
    assert found.plan == decision.plan
    assert found.budgets == decision.budgets
    assert found.allocation.method == "plan"
    assert found.allocation.distortion == pytest.approx(decision.allocation.distortion)
    assert found.notes == ()


def test_costs_are_those_of_this_program_whatever_the_file_says(
    scored: gp.State, decision: Decision
) -> None:
    plan = replace(decision.plan, predicted={"macs": 1.0}, groups=decision.plan.groups[::-1])
    assert given(plan, scored).plan == decision.plan


def test_without_a_budget_it_is_held_against_the_dense_network(
    scored: gp.State, decision: Decision
) -> None:
    (met,) = given(replace(decision.plan, budget={}), scored).budgets
    assert (met.cost, met.asked) == ("macs", 1.0)
    assert met.bound == met.dense == scored[Analysis].dense_macs


def test_a_budget_that_is_missed_is_said_to_be(scored: gp.State, decision: Decision) -> None:
    (met,) = given(replace(decision.plan, budget={"macs": 0.1}), scored).budgets
    assert not met.met
    assert met.reached > met.bound


def test_a_latency_is_checked_only_with_a_table() -> None:
    state, _ = made()
    plan = decided(state, gp.Budget.latency(0.6)).plan
    (met,) = given(plan, state).budgets
    assert (met.cost, met.met) == ("latency", True)
    without = replace(state, facts={k: v for k, v in state.facts.items() if k is not LatencyTable})
    found = given(plan, without)
    assert [each.cost for each in found.budgets] == ["macs"]
    assert "without a table" in found.notes[0]


def test_a_budget_that_is_none_is_refused(scored: gp.State, decision: Decision) -> None:
    for budget in ({"energy": 0.5}, {"macs": 0.5, "params": 0}, {"macs": -1}):
        with pytest.raises(PlanError, match="budgets must be above 0, and of"):
            given(replace(decision.plan, budget=budget), scored)


def test_another_architecture_is_refused(decision: Decision) -> None:
    net = nets.SqueezeExcite()
    other = gp.Pipeline((Analyse(), Score())).run(trace(net, net.inputs()))
    with pytest.raises(MismatchError, match="another architecture"):
        given(decision.plan, other)
    assert GivenPlan.needs == (Analysis, Scores)
