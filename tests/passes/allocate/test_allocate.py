"""Plans within one budget or several, and what is said where there is none."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.data.calibration import Calibration, gather
from graphprune.errors import InfeasibleBudgetError, OptionError
from graphprune.export.ort_session import Runtime
from graphprune.ir.trace import trace
from graphprune.passes import (
    CRITERIA,
    Allocate,
    Analyse,
    Decision,
    Observe,
    Score,
    Scores,
)
from graphprune.passes.allocate.costs import cost_of
from graphprune.passes.latency import Latency, workload
from graphprune.passes.latency.profile import profile
from graphprune.passes.observe import Observations
from graphprune.pipeline import State
from graphprune.plan.latency_table import Kernel, LatencyTable
from tests import nets
from tests.passes.latency.helpers import decided, made, program


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


def test_what_can_not_be_met_is_refused_with_how_near_it_comes() -> None:
    state, table = made()
    smallest = min(
        Latency(workload(state[Analysis]), table).at(w)
        for w in itertools.product(range(1, 25), range(1, 17))
    )
    with pytest.raises(InfeasibleBudgetError, match=r"latency .* can't be reached") as refused:
        decided(state, gp.Budget.flops(0.9), gp.Budget("latency", 1.001))
    assert refused.value.smallest == pytest.approx(1e6 * smallest)


class Two(nn.Module):
    """Two paths: the memory of one and the operations of the other can't both be had."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(3, 16, 3, padding=1)
        self.c, self.d = nn.Conv2d(16, 4, 1), nn.Conv2d(16, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(F.relu(self.a(x))) + self.d(F.relu(self.b(x)))


def test_budgets_that_are_met_one_by_one_but_not_together() -> None:
    state = gp.Pipeline((Analyse(), Score(CRITERIA["l2"]))).run(program(Two()))
    analysis = state[Analysis]
    work = workload(analysis)

    # On this machine one path is only quick when it is wide, so that few operations take long.
    def odd(kernel: Kernel, points: Sequence[tuple[int, ...]]) -> list[float]:
        inner = kernel.kind == "conv" and kernel.widths == (3, 16)
        return [1e-6 * (20 - p[-1]) if inner else 1e-9 for p in points]

    table = profile(work, odd, runtime=Runtime())
    state = state.knowing(table)
    for alone in (gp.Budget.flops(0.3), gp.Budget.latency(1.0)):
        assert all(met.met for met in decided(state, alone).budgets)
    with pytest.raises(InfeasibleBudgetError, match="can't be met together") as refused:
        decided(state, gp.Budget.flops(0.3), gp.Budget.latency(1.0))
    assert "macs" in refused.value.message
    assert "latency" in refused.value.message
    assert refused.value.smallest > 1


def test_widths_that_run_fast() -> None:
    state, _ = made()
    found = decided(state, gp.Budget.flops(0.5), round_to="auto")
    plain = decided(state, gp.Budget.flops(0.5))
    latency = Latency(workload(state[Analysis]), state[LatencyTable])
    widths = [[len(g.keep) for g in d.plan.groups] for d in (found, plain)]
    assert found.budgets[0].met
    assert latency.at(widths[0]) <= latency.at(widths[1])
    assert all(w % 4 == 0 or w < 4 for w in widths[0])  # below, an odd one does less work


def test_without_a_table_a_latency_is_refused() -> None:
    state = gp.Pipeline((Analyse(), Score(CRITERIA["l2"]))).run(program())
    with pytest.raises(OptionError, match="latency table"):
        decided(state, gp.Budget.latency(0.5))


@pytest.fixture(scope="module")
def net() -> nets.Net:
    torch.manual_seed(0)
    return nets.SqueezeExcite()


@pytest.mark.parametrize("name", ["ChunkGate", "StridedSlices", "Maxout", "Glu"])
def test_groups_coupled_with_themselves_are_cut_to_what_was_asked(name: str) -> None:
    net = nets.NETS[name]()
    result = gp.compress(net, net.inputs(), params=0.5, max_cut=0.5)
    assert result.report.budget["met"]
    assert result.report.after.params >= 0.47 * result.report.before.params
    assert all(group.after >= group.before / 2 for group in result.report.groups)


@pytest.mark.parametrize("cost", ["flops", "params"])
def test_a_budget_of_what_the_model_has_nothing_of_is_refused(cost: str) -> None:
    with pytest.raises(OptionError, match="is 0: there is nothing to bound"):
        gp.compress(torch.nn.ReLU(), (torch.randn(2, 3),), **{cost: 0.5})


def test_an_unreachable_budget_names_the_smallest_and_what_is_frozen(net: nets.Net) -> None:
    with pytest.raises(InfeasibleBudgetError) as caught:
        gp.compress(net, net.inputs(), flops=0.1, max_cut=0.25)
    assert caught.value.smallest / 2 / 1e3 > 0.1
    assert "max_cut" in caught.value.hint
    assert "model input x" in caught.value.hint


@pytest.mark.parametrize("score", sorted(CRITERIA))
def test_dp_is_never_worse(net: nets.Net, score: str) -> None:
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


def test_pq_index_looks_at_curves_where_values_are_ranks(net: nets.Net) -> None:
    """By ranks alone all groups are alike, and the rule would be the uniform one."""
    seen = gp.Pipeline((Analyse(),)).run(trace(net, net.inputs()))
    groups = seen[Analysis].groups
    ranks = {g.id: np.arange(1.0, g.width + 1) for g in groups}
    even = {g.id: np.linspace(1, 0, g.width + 1) for g in groups}
    steep = even | {groups[0].id: even[groups[0].id] ** 8}

    def widths(curves: dict[str, NDArray[np.float64]]) -> list[int]:
        allocate = Allocate(budget=gp.Budget.flops(0.5), method="pq-index")
        plan = allocate.run(seen.knowing(Scores(ranks, curves=curves))).plan
        return [len(group.keep) for group in plan.groups]

    assert widths(steep)[0] < widths(even)[0]


class Constant:
    """A criterion that finds all channels alike."""

    needs_data: ClassVar[bool] = False

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, analysis: Analysis, observations: Observations | None = None) -> Scores:
        return Scores({g.id: np.full(g.width, self.value) for g in analysis.groups})


def plain_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_scores_that_are_all_alike_are_said_aloud(value: float) -> None:
    result = gp.compress(plain_net(), (torch.randn(2, 4),), flops=0.5, score=Constant(value))
    (alike,) = [note for note in result.report.notes if "score alike" in note]
    assert all(g.id in alike for g in result.report.groups if g.after < g.before)
    assert any("distortion of 0" in note for note in result.report.notes) is (value == 0.0)


def test_dead_channels_cost_nothing_and_that_is_said() -> None:
    dead = plain_net()
    with torch.no_grad():
        dead[0].weight[:4].zero_()
        dead[0].bias[:4].zero_()
        dead[2].weight[:, :4].zero_()
    result = gp.compress(dead, (torch.randn(2, 4),), params=0.75, protect=["2"])
    assert result.report.allocation["distortion"] == 0
    assert any("distortion of 0" in note for note in result.report.notes)
    assert not any("alike" in note for note in result.report.notes)


def test_nothing_is_said_of_a_cut_that_the_scores_decide() -> None:
    notes = gp.compress(plain_net(), (torch.randn(2, 4),), flops=0.5).report.notes
    assert not any("alike" in note or "distortion of 0" in note for note in notes)


def narrow_stem() -> nn.Module:
    """A layer almost all of whose channels weigh next to nothing, before one that costs much."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    with torch.no_grad():
        net[0].weight[4:] *= 1e-4
        net[0].bias[4:] *= 1e-4
        net[2].weight[:, 4:] *= 1e-4
    return net.eval()


def test_by_default_an_eighth_of_a_group_stays_without_data() -> None:
    example = (torch.randn(2, 8),)
    free = gp.compress(narrow_stem(), example, flops=0.12, max_cut=1.0)
    held = gp.compress(narrow_stem(), example, flops=0.12)
    assert min(len(g.keep) / g.width for g in free.plan.groups) < 1 / 8
    assert min(len(g.keep) / g.width for g in held.plan.groups) >= 1 / 8
    assert not any("less than an eighth" in note for note in held.report.notes)


def test_the_eighth_gives_way_to_a_budget_and_that_is_said() -> None:
    found = gp.compress(narrow_stem(), (torch.randn(2, 8),), flops=0.02)
    assert found.report.budget["met"]
    assert min(len(g.keep) / g.width for g in found.plan.groups) < 1 / 8
    assert any("less than an eighth" in note for note in found.report.notes)


def test_measured_curves_may_take_more_than_seven_eighths() -> None:
    data = [(torch.randn(2, 8),) for _ in range(32)]
    held = gp.compress(narrow_stem(), (torch.randn(2, 8),), flops=0.12, calibration=data)
    given = gp.compress(
        narrow_stem(), (torch.randn(2, 8),), flops=0.12, calibration=data, max_cut=1.0
    )
    assert held.plan.keep == given.plan.keep
