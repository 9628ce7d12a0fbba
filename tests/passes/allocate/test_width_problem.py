"""The best widths within one budget or several, by whatever allocator."""

from __future__ import annotations

import itertools

import pytest
import torch

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.data.calibration import Calibration, gather
from graphprune.ir.trace import trace
from graphprune.passes import CRITERIA, Allocate, Analyse, Decision, Observe, Score, Scores
from graphprune.passes.allocate.costs import cost_of
from graphprune.pipeline import State
from graphprune.plan.latency_table import LatencyTable
from tests import nets
from tests.passes.latency.helpers import decided, made


def brute(state: State, *budgets: gp.Budget) -> float:
    """The least distortion of all plans that meet the budgets."""
    analysis, table = state[Analysis], state[LatencyTable]
    costs = [cost_of(b.cost, analysis, state.program, table) for b in budgets]
    bounds = [b.absolute(c.at(analysis.widths)) for b, c in zip(budgets, costs, strict=True)]
    scores = state[next(t for t in state.facts if t.__name__ == "Scores")]
    return min(
        sum(float(scores.curve(g.id)[w]) for g, w in zip(analysis.groups, widths, strict=True))
        for widths in itertools.product(*(range(1, g.width + 1) for g in analysis.groups))
        if all(c.at(widths) <= b * (1 + 1e-12) for c, b in zip(costs, bounds, strict=True))
    )


@pytest.mark.parametrize("amount", [0.3, 0.6, 0.9])
def test_the_best_plan_within_a_latency(amount: float) -> None:
    state, _ = made()
    found = decided(state, gp.Budget.latency(amount))
    (met,) = found.budgets
    assert met.met
    assert found.allocation.distortion == pytest.approx(brute(state, gp.Budget.latency(amount)))
    assert found.plan.budget == {"latency": amount}
    assert found.plan.predicted["latency"] == pytest.approx(met.reached)


@pytest.mark.parametrize(("flops", "latency"), [(0.5, 0.5), (0.4, 0.7), (0.8, 0.35), (0.6, 0.62)])
def test_two_budgets_at_once(flops: float, latency: float) -> None:
    state, _ = made()
    budgets = gp.Budget.flops(flops), gp.Budget.latency(latency)
    found = decided(state, *budgets)
    assert all(met.met for met in found.budgets)
    assert [met.cost for met in found.budgets] == ["macs", "latency"]
    # A surrogate may leave a gap, and here it is small.
    assert found.allocation.distortion <= 1.05 * brute(state, *budgets) + 1e-12


@pytest.mark.parametrize("name", ["ChunkGate", "StridedSlices", "Maxout", "Glu"])
def test_groups_coupled_with_themselves_are_cut_to_what_was_asked(name: str) -> None:
    net = nets.NETS[name]()
    result = gp.compress(net, net.inputs(), params=0.5, max_cut=0.5)
    assert result.report.budget["met"]
    assert result.report.after.params >= 0.47 * result.report.before.params
    assert all(group.after >= group.before / 2 for group in result.report.groups)


@pytest.mark.parametrize("score", sorted(CRITERIA))
def test_dp_is_never_worse(score: str) -> None:
    torch.manual_seed(0)
    net = nets.SqueezeExcite()
    program = trace(net, net.inputs())
    data = gather([net.inputs() for _ in range(8)], program)
    scored = gp.Pipeline((Analyse(), Observe(), Score(CRITERIA[score])), given=(Calibration,)).run(
        gp.State(program).knowing(data)
    )

    def distortion(method: str) -> float:
        allocate = Allocate(budget=gp.Budget.flops(0.4), method=method)
        return (
            gp
            .Pipeline((allocate,), given=(Analysis, Scores))
            .run(scored)[Decision]
            .allocation.distortion
        )

    best = distortion("dp")
    for other in ("uniform", "global_threshold", "erk", "pq-index", "random_search"):
        assert best <= distortion(other) * (1 + 1e-12) + 1e-12
