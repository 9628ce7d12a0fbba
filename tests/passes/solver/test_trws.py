"""Message passing never exceeds the truth, and is tight where it should be."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from graphprune.passes.solver import Problem
from graphprune.passes.solver.trws import Messages
from tests.passes.solver.structures import (
    ROUNDING,
    SMALL,
    WEIGHTS,
    densenet,
    joint,
    lowest_by_level,
)


@settings(max_examples=50)
@given(SMALL, WEIGHTS)
def test_messages_stay_below(problem: Problem, weight: float) -> None:
    cost, distortion = joint(problem)
    total = distortion + weight * cost
    messages = Messages(problem.sizes, problem.factors, iterations=20)
    slack = ROUNDING * total.max()
    value, levels = messages.minimise(problem.curves, weight)
    assert value <= total.min() + slack
    assert total[levels] >= total.min()
    for group, found in enumerate(messages.marginals(problem.curves, weight)):
        assert (found <= lowest_by_level(total, group) + slack).all()


def test_messages_are_tight_on_a_bipartite_product() -> None:
    problem = densenet((2, 1)).problem(5, 0.5, seed=4)
    cost, distortion = joint(problem)
    weight = float(distortion.max() / cost.max())
    value, _ = Messages(problem.sizes, problem.factors, 300).minimise(problem.curves, weight)
    assert value == pytest.approx((distortion + weight * cost).min(), rel=1e-3)
