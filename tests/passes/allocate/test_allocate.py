"""The pass: its options, its defaults, and allocators that need more than a problem."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.errors import OptionError
from graphprune.ir.trace import trace
from graphprune.passes import (
    CRITERIA,
    Allocate,
    Analyse,
    Score,
    Scores,
)
from graphprune.passes.latency import Latency, workload
from graphprune.plan.latency_table import LatencyTable
from tests import nets
from tests.passes.latency.helpers import decided, made, program


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


@pytest.mark.parametrize("cost", ["flops", "params"])
def test_a_budget_of_what_the_model_has_nothing_of_is_refused(cost: str) -> None:
    with pytest.raises(OptionError, match="is 0: there is nothing to bound"):
        gp.compress(torch.nn.ReLU(), (torch.randn(2, 3),), **{cost: 0.5})


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
