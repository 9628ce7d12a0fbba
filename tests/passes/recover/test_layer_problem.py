"""The regression of one weight: what it reads, what it stores, and that large means do no harm."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.cut.cut import Cut
from graphprune.passes.observe import kept_channels
from graphprune.passes.recover import THOROUGH
from graphprune.passes.recover.layer_problem import LayerProblem
from tests.passes.recover.helpers import observed
from tests.passes.recover.test_least_squares import Written


def test_a_weight_is_refitted_where_the_network_reads_it() -> None:
    seen = observed("NormedResidual")
    groups = seen.analysis.groups
    cut = Cut.keeping(seen.analysis, {g.id: range(g.width // 2) for g in groups})
    numbers = sorted({*seen.held_out, *seen.fitted})
    run = seen.staged(cut.module, numbers, None, math.inf)
    before, changed = dict(run.tensors), 0
    for layer, tie in seen.ties.items():
        run.advance(cut.copies[layer.node])
        channels = kept_channels(layer, cut)
        assert channels is not None
        problem = LayerProblem(
            seen, tie, channels, run, cut.copies, numbers, seen.fitted, seen.held_out
        )
        assert cut.copies[layer.value] in problem.needed()
        name = str(cut.copies[layer.weight].target)
        fit = problem.solve(None, THOROUGH)
        assert bool(fit.ridge) == (not torch.equal(run.tensors[name], before[name]))
        changed += bool(fit.ridge)
    assert changed


def test_a_large_mean_costs_no_accuracy() -> None:
    data = torch.randn(256, 6, generator=torch.Generator().manual_seed(1))
    after = [
        gp.compress(
            Written("linear", offset), (data[:2],), flops=0.5, calibration=[data]
        ).report.recovery["after"]
        for offset in (0.0, 3e3)
    ]
    assert after[1] == pytest.approx(after[0], rel=0.02)


class SilentBranches(nn.Module):
    """A residual block, and a gate, that add nothing, as after an initialisation by zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1)
        self.second, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        nn.init.zeros_(self.norm.weight)
        self.inner, self.gate = nn.Linear(8, 8), nn.Parameter(torch.zeros(8))
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        x = x + self.norm(self.second(self.first(x).relu()))
        x = x.mean((2, 3))
        return self.head(x + self.gate * self.inner(x))


@pytest.mark.parametrize("score", ["obs", "l2"])
def test_branches_that_add_nothing_do_no_harm(score: str) -> None:
    torch.manual_seed(0)
    net, data = SilentBranches().eval(), torch.randn(24, 3, 6, 6)
    result = gp.compress(net, data[:2], flops=0.6, score=score, calibration=data.split(6))
    assert result.report.recovery["after"] < 0.02
