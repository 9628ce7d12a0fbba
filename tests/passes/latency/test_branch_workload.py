"""What runs of a network without some branches, by the network itself without them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.analysis.analyse import Analysis, analyse
from graphprune.cut.cut import Cut
from graphprune.errors import MismatchError
from graphprune.export.ort_session import Runtime
from graphprune.ir.trace import trace
from graphprune.passes.allocate.costs import cost_of
from graphprune.passes.latency import Latency, Workload, branch_workload, workload
from graphprune.passes.latency.profile import profile
from graphprune.passes.solver.equal_widths import EqualWidths
from graphprune.plan.kernel_times import Kernel
from graphprune.plan.latency_table import LatencyTable
from tests.analysis.test_removable import Bottlenecks, DepthwiseFirst
from tests.passes.latency.helpers import Block

X = (torch.randn(1, 3, 8, 8),)


class PiecesAndPreactivation(nn.Module):
    """Pieces of a concatenation, one of which can go, then a block whose sum nothing follows."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces = nn.ModuleList(nn.Conv2d(3, 8, 3, padding=1) for _ in range(2))
        self.join = nn.Conv2d(16, 12, 1)
        self.norm = nn.BatchNorm2d(12)
        self.up, self.down = nn.Conv2d(12, 24, 1, bias=False), nn.Conv2d(24, 12, 3, padding=1)
        self.head = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.join(torch.cat([torch.relu(piece(x)) for piece in self.pieces], 1))
        x = x + self.down(torch.relu(self.up(torch.relu(self.norm(x)))))
        return self.head(x.mean((2, 3)))


NETS = [Bottlenecks, DepthwiseFirst, Block, PiecesAndPreactivation]


def steady(_: Kernel, points: Sequence[tuple[int, ...]]) -> list[float]:
    """A machine whose operators take a fixed time, and what their widths multiply to."""
    return [1e-6 * (3 + float(np.prod(widths))) for widths in points]


def table_of(work: Workload) -> LatencyTable:
    return profile(work, steady, runtime=Runtime())


def choices(analysis: Analysis) -> list[list[int]]:
    """All sets of leads of branches that may go at once."""
    leads = [branch.lead for branch in analysis.removable.branches]
    sets = itertools.product([False, True], repeat=len(leads))
    found = [[lead for lead, goes in zip(leads, each, strict=True) if goes] for each in sets]
    return [each for each in found if not analysis.without(each, idle=True).trouble]


@pytest.mark.parametrize("net", NETS)
def test_the_latency_is_that_of_the_network_without_the_branches(net: type[nn.Module]) -> None:
    torch.manual_seed(0)
    program = trace(net().eval(), X)
    analysis = analyse(program)
    assert analysis.removable.branches
    table = table_of(branch_workload(analysis))
    cost = cost_of("latency", analysis, program, table, depth=True)
    for leads in choices(analysis):
        gone = analysis.without(leads, idle=True).gone
        keep = {analysis.groups[number].id: () for number in gone}
        small = analyse(Cut.keeping(analysis, keep).program)
        work = workload(small)
        true = 1e6 * Latency(work, table_of(work)).at(small.widths)
        widths = [0 if n in gone else g.width for n, g in enumerate(analysis.groups)]
        assert cost.at(widths) == pytest.approx(true)
        # The same by tables, in which only those groups have a width of 0 that lead a branch.
        levels = [np.array([0 if n in leads else g.width]) for n, g in enumerate(analysis.groups)]
        (factors,) = cost.factors(levels, EqualWidths.of(range(len(levels))))
        assert sum(float(f.table.sum()) for f in factors) == pytest.approx(true)
        assert cost.is_exact(levels) == (not leads)


def test_an_operator_needs_its_branch_and_what_was_fused_into_it_takes_its_place() -> None:
    analysis = analyse(trace(Block().eval(), X))
    (branch,) = analysis.removable.branches
    found = {
        (o.kernel.kind, o.kernel.tail): (o.kept, o.gone)
        for o in branch_workload(analysis).operators
    }
    assert found["conv", (("Add",), ("Relu",))] == ((branch.lead,), ())
    assert found["Add", ()] == found["Relu", ()] == ((), (branch.lead,))
    assert found["linear", ()] == ((), ())


def test_a_table_without_what_runs_when_branches_are_gone_still_serves() -> None:
    program = trace(Bottlenecks().eval(), X)
    analysis = analyse(program)
    table = table_of(workload(analysis))
    cost = cost_of("latency", analysis, program, table, depth=True)
    dense = list(analysis.widths)
    gone = analysis.removable.branches[0].groups
    less = [0 if number in gone else width for number, width in enumerate(dense)]
    assert 0 < cost.at(less) < cost.at(dense)
    apart = EqualWidths.of(range(len(less)))
    (factors,) = cost.factors([np.array([w]) for w in less], apart)
    assert all(np.isfinite(f.table).all() for f in factors)
    with pytest.raises(MismatchError):
        cost_of("latency", analyse(trace(Block().eval(), X)), program, table, depth=True)


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_a_budget_of_latency_takes_branches_out(share: float) -> None:
    net = Bottlenecks().eval()
    table = table_of(branch_workload(analyse(trace(net, X))))
    result = gp.compress(net, X, latency=share, depth=True, latency_table=table)
    (met,) = result.report.budgets
    assert met["reached"] <= met["bound"] * (1 + 1e-9)
    assert result.plan.removed
    small = analyse(result.program)
    work = workload(small)
    true = 1e6 * Latency(work, table_of(work)).at(small.widths)
    assert true == pytest.approx(float(met["reached"]), rel=0.02)
