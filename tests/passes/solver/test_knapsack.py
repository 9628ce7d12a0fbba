"""The knapsack on separate costs: within the room, and as good as rounding allows."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from graphprune.passes.solver import Problem
from graphprune.passes.solver.knapsack import knapsack, linearised_points
from tests.passes.solver.structures import SMALL, brute_force, random_curve


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


@settings(max_examples=50)
@given(SMALL)
def test_points_of_the_linearised_cost_are_within_the_true_budget(problem: Problem) -> None:
    assert all(problem.feasible(point) for point in linearised_points(problem, problem.cheapest))


def test_a_cost_that_is_linear_is_solved_by_one_knapsack() -> None:
    width, rng = np.arange(1, 9), np.random.default_rng(0)
    curves = [random_curve(8, rng, convex=False) for _ in range(3)]
    costs = {(0,): 3.0, (1,): 5.0, (2,): 2.0}
    problem = Problem.from_polynomial([width] * 3, curves, costs, 40.0)
    (first, *_) = linearised_points(problem, problem.cheapest, steps=1)
    assert problem.distortion(first) <= brute_force(replace(problem, budget=39.9))
