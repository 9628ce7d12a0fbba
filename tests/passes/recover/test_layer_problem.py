"""The regression of one weight: what it reads, what it stores, and that large means do no harm."""

from __future__ import annotations

import math

import pytest
import torch

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
