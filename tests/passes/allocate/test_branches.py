"""Whole branches as width 0 in the dynamic programme: costs, distortions, the optimum and its bound."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.analysis.analyse import Analysis, analyse
from graphprune.analysis.branch_costs import costs_left
from graphprune.ir.trace import trace
from graphprune.passes.allocate.branches import (
    distortions,
    gone_whole,
    whole_branches,
    with_branches,
)
from graphprune.passes.decision import make_plan
from graphprune.passes.solver import DynamicProgramming
from graphprune.passes.solver.problem import Problem
from tests.analysis.test_removable import Bottlenecks, DepthwiseFirst
from tests.passes.solver.structures import optimum

X = torch.randn(2, 3, 8, 8)


def analysed(net: nn.Module) -> Analysis:
    return analyse(trace(net.eval(), (X,)))


def problem_of(analysis: Analysis, share: float, seed: int) -> Problem:
    """Random curves, and the costs of a net whose branches may go."""
    random = np.random.default_rng(seed)
    curves = {
        g.id: np.append(np.cumsum(random.exponential(size=g.width))[::-1], 0.0)
        for g in analysis.groups
    }
    curves = with_branches(analysis, curves)
    leads = {branch.lead for branch in analysis.removable.branches}
    widths = [np.arange(n not in leads, g.width + 1) for n, g in enumerate(analysis.groups)]
    return Problem.from_polynomial(
        widths,
        [curves[g.id][w] for g, w in zip(analysis.groups, widths, strict=True)],
        analysis.branch_costs.macs.terms,
        share * analysis.dense_macs,
    )


@pytest.mark.parametrize(("share", "seed"), [(0.6, 0), (0.35, 1), (0.28, 2)])
def test_the_optimum_is_that_of_the_milp_solver(share: float, seed: int) -> None:
    problem = problem_of(analysed(Bottlenecks()), share, seed)
    found, best = DynamicProgramming()(problem), optimum(problem)
    assert found.lower_bound is not None
    assert found.gap is not None
    assert found.cost <= problem.budget
    assert found.lower_bound <= best * (1 + 1e-6)
    assert best * (1 - 1e-6) <= found.distortion <= best * (1 + found.gap + 1e-6)


def test_the_optimum_is_that_over_all_networks_without_some_branches() -> None:
    analysis = analysed(Bottlenecks())
    problem = problem_of(analysis, 0.35, 3)
    best = np.inf
    for whole in itertools.product([False, True], repeat=2):
        branches = [b for b, gone in zip(analysis.removable.branches, whole, strict=True) if gone]
        gone = frozenset[int]().union(*(b.groups for b in branches))
        left = analysis.without(gone)
        lost = sum(problem.curves[b.lead][0] for b in branches)
        plain = Problem.from_polynomial(
            [w[w > 0] if n not in gone else np.array([0]) for n, w in enumerate(problem.widths)],
            [c[-g.width :] if n not in gone else np.zeros(1)
             for n, (c, g) in enumerate(zip(problem.curves, analysis.groups, strict=True))],
            costs_left(analysis, left).macs.terms,
            problem.budget,
        )  # fmt: skip
        if plain.smallest_cost() <= plain.budget:
            best = min(best, lost + optimum(plain))
    assert DynamicProgramming()(problem).distortion == pytest.approx(best, rel=1e-3)


def test_a_branch_costs_at_least_as_much_as_its_groups_at_one_channel() -> None:
    analysis = analysed(Bottlenecks())
    curves = {g.id: np.linspace(g.width, 0, g.width + 1) for g in analysis.groups}
    curves["blocks.0.0"][1] = 50.0
    found = with_branches(analysis, curves)
    assert found["blocks.0.3"][0] == 50
    assert found["blocks.1.3"][0] == 6
    assert curves["blocks.0.3"][0] == 6


def test_what_is_of_no_use_goes_along() -> None:
    analysis = analysed(Bottlenecks())
    widths = [0 if g.id == "blocks.1.3" else g.width for g in analysis.groups]
    gone = whole_branches(analysis, widths)
    assert {analysis.groups[n].id for n in gone} == {"blocks.1.0", "blocks.1.3"}
    assert "blocks.1.0, blocks.1.3" in gone_whole(analysis, gone)[0]
    assert not whole_branches(analysis, analysis.widths.tolist())
    assert not gone_whole(analysis, ())


def test_a_branch_that_goes_counts_once() -> None:
    analysis = analysed(Bottlenecks())
    curves = {g.id: np.arange(g.width, -1.0, -1.0) for g in analysis.groups}
    keep = {"blocks.0.0": (), "blocks.0.3": (), "blocks.1.0": (1, 2)}
    plan = make_plan(analysis, keep, {})
    assert distortions(analysis, curves, plan) == [0, 0, 6, 2, 0]


@pytest.mark.parametrize("net", [Bottlenecks(), DepthwiseFirst()])
def test_a_tight_budget_takes_branches_out(net: nn.Module) -> None:
    left = 3 * 8 * 9 * 64 + 8 * 5
    dense = analysed(net).dense_macs
    result = gp.compress(net.eval(), (X,), flops=1.01 * left / dense, depth=True)
    assert {g.id for g in result.plan.groups if not g.keep} == {
        g.id for g in result.plan.groups if g.id != "stem"
    }
    assert result.plan.predicted["macs"] == left
    assert any("removed whole" in note for note in result.report.notes)
    assert result.report.eager["own_class"]
    replayed = gp.compress(net, (X,), plan=gp.Plan.from_json(result.plan.to_json()))
    assert torch.equal(replayed.model(X), result.model(X))
    assert result.model(torch.randn(5, 3, 8, 8)).shape == (5, 5)


@pytest.mark.parametrize(
    "held",
    [{"min_channels": 2}, {"protect": ["blocks.0.0", "blocks.1.3"]}, {"protect": ["*.6.weight"]}, {"max_cut": 0.9},
     {"depth": False}],
)  # fmt: skip
def test_limits_hold_branches(held: dict[str, Any]) -> None:
    net = Bottlenecks().eval()
    options: dict[str, Any] = {"depth": True, **held}
    result = gp.compress(net, (X,), params=0.9, **options)
    assert all(group.keep for group in result.plan.groups)


def test_an_insisted_class_may_lose_branches_that_it_can_do_without() -> None:
    torch.manual_seed(0)
    result = gp.compress(Bottlenecks().eval(), (X,), flops=0.35, depth=True, keep_class=True)
    assert result.plan.removed
    assert isinstance(result.model, Bottlenecks)
