"""Budgets that can't be met: how near plans come, what is frozen, and which option stands in the way."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.errors import InfeasibleBudgetError
from graphprune.export.ort_session import Runtime
from graphprune.passes import CRITERIA, Analyse, Score
from graphprune.passes.latency import Latency, workload
from graphprune.passes.latency.profile import profile
from graphprune.plan.kernel_times import Kernel
from tests import nets
from tests.passes.latency.helpers import decided, made, program


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


def test_an_unreachable_budget_names_the_smallest_and_what_is_frozen() -> None:
    torch.manual_seed(0)
    net = nets.SqueezeExcite()
    with pytest.raises(InfeasibleBudgetError) as caught:
        gp.compress(net, net.inputs(), flops=0.1, max_cut=0.25)
    assert caught.value.smallest / 2 / 1e3 > 0.1
    assert "max_cut" in caught.value.hint
    assert "model input x" in caught.value.hint


@pytest.mark.parametrize(("amount", "told"), [(50, True), (2, True), ("9", True), (0.001, False)])
def test_a_number_that_may_be_meant_as_a_share_is_explained(
    amount: float | str, *, told: bool
) -> None:
    net = nets.NormedResidual()
    with pytest.raises(InfeasibleBudgetError) as caught:
        gp.compress(net, net.inputs(), params=amount)
    assert ("50%" in caught.value.hint) == told
