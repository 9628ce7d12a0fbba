"""Local search, filling, landing near the budget, and the linearised knapsack."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from graphprune.passes.solver import Problem, approach
from graphprune.passes.solver.knapsack import knapsack, linearised_points
from graphprune.passes.solver.local_search import fill, polish
from tests.passes.solver.structures import problems, resnet_basic

ROUNDING = 1e-9  # sums of a few dozen float64 numbers, in different orders
SMALL = problems() | problems(monotone=False)


@settings(max_examples=50, deadline=None)
@given(SMALL)
def test_never_worse_never_over_budget(problem: Problem) -> None:
    start = problem.cheapest
    for improve in (polish, fill):
        levels = improve(problem, start)
        assert problem.feasible(levels)
        assert problem.distortion(levels) <= problem.distortion(start)
        assert improve(problem, levels) == levels
    assert all(problem.feasible(point) for point in linearised_points(problem, start))


@settings(max_examples=50, deadline=None)
@given(problems())
def test_no_single_widening_fits_after_filling(problem: Problem) -> None:
    levels = fill(problem, problem.cheapest)
    room = problem.budget - problem.cost(levels)
    for group, level in enumerate(levels):
        for wider in range(level + 1, problem.sizes[group]):
            moved = problem.cost([*levels[:group], wider, *levels[group + 1 :]])
            assert moved > problem.budget or moved - problem.cost(levels) <= ROUNDING * room


def test_approach_spends_up_to_a_floor() -> None:
    problem = resnet_basic(2).problem(0, 0.5, seed=0)
    start = fill(problem, problem.cheapest)
    spare = Problem(problem.widths, problem.curves, problem.factors, 1.02 * problem.budget)
    floor = 0.999 * spare.budget
    found = approach(spare, start, floor)
    assert floor <= spare.cost(found) <= spare.budget
    assert approach(spare, found, floor) == found


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 9), st.integers(-9, 9)), min_size=1, max_size=4),
        min_size=1,
        max_size=4,
    ),
    st.integers(-20, 40),
)
def test_knapsack(items: list[list[tuple[int, int]]], room: int) -> None:
    values, costs = ([np.array([item[i] for item in row], float) for row in items] for i in (0, 1))
    choice = knapsack(values, costs, room)
    spent = sum(cost[pick] for cost, pick in zip(costs, choice, strict=True))
    if spent > room:
        assert spent == sum(cost.min() for cost in costs)
        return
    # Rounding up to buckets loses at most one bucket per group.
    tight = room - 0.002 * len(items) * (room - sum(cost.min() for cost in costs))
    best = min(
        (
            sum(value for value, _ in picks)
            for picks in itertools.product(*items)
            if sum(cost for _, cost in picks) <= tight
        ),
        default=np.inf,
    )
    assert sum(value[pick] for value, pick in zip(values, choice, strict=True)) <= best
