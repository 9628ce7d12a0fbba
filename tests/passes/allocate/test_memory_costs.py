"""Bytes of networks without some branches, by the networks themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.errors import InfeasibleBudgetError
from graphprune.ir.trace import trace
from graphprune.passes.allocate.costs import cost_left, cost_of
from tests.passes.latency.helpers import Block
from tests.passes.latency.test_branch_workload import (
    Bottlenecks,
    PiecesAndPreactivation,
    X,
    choices,
)


class Spread(nn.Module):
    """A block whose constant a pooling reads in full size."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.up = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 1)
        self.down, self.head = nn.Conv2d(16, 8, 1), nn.Conv2d(16, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        return self.head(torch.cat([x, torch.softmax(self.down(torch.relu(self.up(x))), 2)], 1))


@pytest.mark.parametrize("name", ["macs", "params", "memory", "size"])
@pytest.mark.parametrize("net", [Bottlenecks, Block, PiecesAndPreactivation, Spread])
def test_a_cost_is_that_of_the_network_without_the_branches(
    net: type[nn.Module], name: str
) -> None:
    torch.manual_seed(0)
    program = trace(net().eval(), X)
    analysis = analyse(program)
    assert analysis.removable.branches
    cost = cost_of(name, analysis, program, None, depth=True)
    for leads in choices(analysis):
        gone = analysis.without(leads, idle=True).gone
        keep = {analysis.groups[number].id: () for number in gone}
        program_left = Cut.keeping(analysis, keep).program
        small = analyse(program_left)
        true = cost_of(name, small, program_left, None).at(small.widths)
        widths = [0 if n in gone else g.width for n, g in enumerate(analysis.groups)]
        assert cost_left(cost, name, analysis, widths, program) == pytest.approx(true, rel=0.01)
        # What the widths are chosen by counts no less: only groups that lead a branch are 0.
        chosen = [0 if n in leads else g.width for n, g in enumerate(analysis.groups)]
        assert cost.at(chosen) >= true * (1 - 0.01)
        if name != "size" or not leads:
            assert cost.at(chosen) == pytest.approx(true, rel=0.01)


def asked(net: nn.Module, name: str, amount: float, **options: Any) -> gp.Result:
    return gp.compress(net, X, **options, **{name: amount})


@pytest.mark.parametrize("name", ["memory", "params"])
def test_branches_go_where_no_widths_meet_a_budget(name: str) -> None:
    net = Bottlenecks().eval()
    program = trace(net, X)
    whole = analyse(program)
    dense = cost_of(name, whole, program, None).at(whole.widths)
    with pytest.raises(InfeasibleBudgetError) as problem:
        asked(net, name, 1e-3)
    result = asked(net, name, 0.97 * problem.value.smallest / dense, depth=True)
    (met,) = result.report.budgets
    assert met["reached"] <= met["bound"]
    assert result.plan.removed
    analysis = analyse(result.program)
    reached = cost_of(name, analysis, result.program, None).at(analysis.widths)
    assert reached == pytest.approx(float(met["reached"]), rel=0.02)
    again = gp.compress(net, X, plan=result.plan)
    assert again.report.budgets[0]["reached"] == pytest.approx(float(met["reached"]))


@pytest.mark.parametrize("share", [0.7, 0.9])
def test_the_file_without_branches_is_as_small_as_said(share: float) -> None:
    net = Bottlenecks().eval()
    result = gp.compress(net, X, size=share, depth=True)
    (met,) = result.report.budgets
    small = result.program
    analysis = analyse(small)
    reached = cost_of("size", analysis, small, None).at(analysis.widths)
    assert met["reached"] <= met["bound"]
    assert reached == pytest.approx(float(met["reached"]), rel=0.02)
