"""A latency is the sum over its operators, and tables of costs are that sum."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.errors import MismatchError
from graphprune.passes.latency import Latency, Workload, workload
from tests.passes.latency.helpers import Concat, decided, made, pretend


def test_the_prediction_is_the_sum_and_the_tables_are_the_prediction() -> None:
    state, table = made()
    latency = Latency(workload(state[Analysis]), table)
    dense = state[Analysis].widths
    expected = sum(pretend(o.kernel, [o.kernel.widths])[0] for o in latency.work.operators)
    assert latency.at(dense) == pytest.approx(expected)
    candidates = [np.arange(1, w + 1) for w in dense]
    factors, rest = latency.factors(candidates)
    for widths in itertools.product(*([1, 5, 8, w] for w in dense)):
        levels = [w - 1 for w in widths]
        assert sum(f(levels) for f in factors) + rest.at(widths) == pytest.approx(
            latency.at(widths)
        )


def test_a_grouped_convolution_takes_the_share_of_its_groups_that_is_left() -> None:
    class Grouped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 32, 3, groups=4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x)).mean((2, 3)).sum(1)

    state, table = made(Grouped())
    call = workload(state[Analysis]).operators[1]
    latency = Latency(Workload((call,), ()), table)
    dense = [*state[Analysis].widths]
    assert latency.at([2, *dense[1:]]) == pytest.approx(0.5 * latency.at(dense))
    candidates = [np.arange(1, w + 1) for w in dense]
    factors, rest = latency.factors(candidates)
    levels = [1, 2, *(w - 1 for w in dense[2:])]
    assert sum(f(levels) for f in factors) + rest.at([x + 1 for x in levels]) == pytest.approx(
        latency.at([x + 1 for x in levels])
    )


def test_a_table_of_another_network_is_refused() -> None:
    state, _ = made()
    _, other = made(Concat())
    with pytest.raises(MismatchError, match="lacks"):
        decided(state.knowing(other), gp.Budget.latency(0.5))


def test_a_sum_of_many_groups_is_planned_with_what_comes_near_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("graphprune.passes.latency.predict._CELLS", 300)
    state, _ = made(Concat(3))
    found = decided(state, gp.Budget.latency(0.5))
    assert found.budgets[0].met
    assert found.budgets[0].reached > 0.3 * found.budgets[0].dense
