"""Elimination is exact; relaxation and message passing never exceed the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphprune.passes.solver import Problem
from graphprune.passes.solver.elimination import Elimination
from graphprune.passes.solver.relaxation import Relaxation, grid
from graphprune.passes.solver.trws import Messages
from tests.passes.solver.structures import (
    chain,
    densenet,
    joint,
    problems,
    resnet_basic,
    resnet_bottleneck,
)

ROUNDING = 1e-9  # sums of a few dozen float64 numbers, in different orders
WEIGHTS = st.sampled_from([0.0, 0.01, 0.3, 5.0])
SMALL = problems() | problems(monotone=False)


def lowest_by_level(total: np.ndarray, group: int) -> np.ndarray:
    return total.min(axis=tuple(axis for axis in range(total.ndim) if axis != group))


@settings(max_examples=50, deadline=None)
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


@settings(max_examples=50, deadline=None)
@given(SMALL, WEIGHTS)
def test_messages_stay_below(problem: Problem, weight: float) -> None:
    cost, distortion = joint(problem)
    total = distortion + weight * cost
    messages = Messages(problem.sizes, problem.factors, sweeps=20)
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


@settings(max_examples=50, deadline=None)
@given(SMALL, WEIGHTS, st.data())
def test_relaxation_stays_below(problem: Problem, weight: float, data: st.DataObject) -> None:
    cost, distortion = joint(problem)
    total = distortion + weight * cost
    centre = tuple(data.draw(st.integers(0, size - 1)) for size in problem.sizes)
    starts = [
        np.unique([0, *data.draw(st.lists(st.integers(0, size - 1)))]) for size in problem.sizes
    ]
    for relaxation, exact in (
        (Relaxation(problem, centre), True),
        (Relaxation(problem, centre, starts), False),
    ):
        solver = Elimination.plan(relaxation.sizes, relaxation.factors, 10_000)
        value, intervals = solver.minimise(relaxation.unary(weight), weight)
        value += weight * relaxation.constant
        line = relaxation.line(intervals, relaxation.inside(intervals, weight))
        assert line.at(weight) == pytest.approx(value, rel=ROUNDING, abs=1e-7)
        assert value <= total.min() + ROUNDING * total.max()
        if exact:
            assert value >= total.min() - ROUNDING * total.max()


@given(st.integers(1, 300), st.integers(3, 70), st.data())
def test_grids(size: int, count: int, data: st.DataObject) -> None:
    centre = data.draw(st.none() | st.integers(0, size - 1))
    levels = grid(size, count, centre)
    assert levels.tolist() == sorted(set(levels.tolist()))
    assert len(levels) <= max(count, 1)
    assert {0, size - 1} <= set(levels.tolist()) <= set(range(size))
    if centre is not None and count >= 5:
        near = {max(0, centre - 1), centre, min(size - 1, centre + 1)}
        assert near <= set(levels.tolist())


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
