"""Intervals of levels never exceed the truth; grids hold both ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphprune.passes.solver import Problem
from graphprune.passes.solver.elimination import Elimination
from graphprune.passes.solver.relaxation import Relaxation, grid
from tests.passes.solver.structures import ROUNDING, SMALL, WEIGHTS, joint


@settings(max_examples=50)
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
