"""One problem of few levels: within the budget, bounded, and never worse than its start."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from graphprune.passes.solver import Problem
from graphprune.passes.solver.solve import SearchLimits, affordable, embedded, solve
from tests.passes.solver.structures import (
    ROUNDING,
    SMALL,
    brute_force,
    chain,
    densenet,
    resnet_basic,
)

EFFORTS = (
    SearchLimits(),
    SearchLimits(state_cells=0),
    SearchLimits(cells=10, iterations=3, prices=2, states=1),
)


@settings(max_examples=50)
@given(SMALL, st.sampled_from(EFFORTS))
def test_the_bound_is_below_and_the_levels_are_within(
    problem: Problem, limits: SearchLimits
) -> None:
    start = problem.cheapest
    assume(problem.feasible(start))
    levels, bound = solve(problem, start, limits)
    best = brute_force(problem)
    assert problem.feasible(levels)
    assert bound <= best + ROUNDING * (1 + best)
    assert best <= problem.distortion(levels) + ROUNDING
    assert problem.distortion(levels) <= problem.distortion(start) + ROUNDING


def test_more_cells_afford_no_fewer_levels() -> None:
    problem = resnet_basic(3).problem(0, 0.5, seed=0)
    counts = [affordable(problem, SearchLimits(cells=10**power)) for power in range(2, 8)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] == 64


def test_what_is_too_entangled_to_eliminate_is_counted_by_its_pairs() -> None:
    problem = densenet((4, 8)).problem(0, 0.5, seed=0)
    assert 8 <= affordable(problem, SearchLimits(cells=100_000)) <= 64
    assert affordable(problem, SearchLimits(cells=1)) == 8


def test_levels_of_a_part_are_those_of_the_whole() -> None:
    problem = chain(depth=3).problem(6, 0.4, seed=0)
    choice = [np.array([0, 2]), np.array([1, 3, 5]), np.array([4])]
    whole = embedded((1, 0, 0), choice)
    assert whole == (2, 1, 4)
    assert problem.restrict(choice).cost((1, 0, 0)) == problem.cost(whole)
