"""Elimination is exact, and knows when it would be too large."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from graphprune.passes.solver import Problem
from graphprune.passes.solver.elimination import Elimination
from tests.passes.solver.structures import (
    ROUNDING,
    SMALL,
    WEIGHTS,
    chain,
    densenet,
    joint,
    lowest_by_level,
    resnet_basic,
    resnet_bottleneck,
)


@settings(max_examples=50)
@given(SMALL, WEIGHTS)
def test_elimination_is_exact(problem: Problem, weight: float) -> None:
    cost, distortion = joint(problem)
    total = distortion + weight * cost
    elimination = Elimination.plan(problem.sizes, problem.factors, 10_000)
    value, levels = elimination.minimise(problem.curves, weight)
    assert value == pytest.approx(total.min(), rel=ROUNDING)
    assert total[levels] == pytest.approx(total.min(), rel=ROUNDING)
    for group, found in enumerate(elimination.marginals(problem.curves, weight)):
        np.testing.assert_allclose(found, lowest_by_level(total, group), rtol=ROUNDING)


@pytest.mark.parametrize(
    ("net", "width"),
    [(chain(), 1), (resnet_basic(), 2), (resnet_bottleneck(), 2)],
    ids=["chain", "resnet56", "resnet50"],
)
def test_induced_width_of_known_nets(net: object, width: int) -> None:
    problem = net.problem(4, 0.5, seed=0)
    elimination = Elimination.plan(problem.sizes, problem.factors, 10**6)
    assert max(len(bucket.separator) for bucket in elimination.buckets) == width


def test_too_large_for_elimination() -> None:
    problem = densenet().problem(16, 0.5, seed=0)
    assert Elimination.plan(problem.sizes, problem.factors, 10**7) is None
