"""The Lagrangian bound: the best price, against a linear program over all choices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from scipy.optimize import linprog

from graphprune.passes.solver import Problem
from graphprune.passes.solver.elimination import Elimination
from graphprune.passes.solver.lagrange import Dual, ascend
from graphprune.passes.solver.relaxation import Line, Relaxation
from tests.passes.solver.structures import SMALL, brute_force, chain, joint, lowest_by_level

ACCURACY = 1e-6  # of HiGHS


def dual_of(problem: Problem, steps: int = 60) -> Dual:
    """The bound of a problem whose widest levels cost too much."""
    relaxation = Relaxation(problem, problem.cheapest)
    solver = Elimination.plan(relaxation.sizes, relaxation.factors, 10_000)
    points = problem.dense, problem.cheapest
    lines = [Line(problem.cost(point), problem.distortion(point)) for point in points]
    return ascend(relaxation, solver, problem.budget, lines, steps)


@settings(max_examples=40)
@given(SMALL)
def test_the_best_price_gives_the_bound_of_mixed_choices(problem: Problem) -> None:
    assume(problem.feasible(problem.cheapest) and not problem.feasible(problem.dense))
    cost, distortion = (table.ravel() for table in joint(problem))
    mixed = linprog(
        distortion,
        A_ub=cost[np.newaxis],
        b_ub=[problem.budget],
        A_eq=np.ones((1, len(cost))),
        b_eq=[1.0],
    )
    assert dual_of(problem).bound == pytest.approx(mixed.fun, rel=ACCURACY, abs=ACCURACY)


@settings(max_examples=40)
@given(SMALL)
def test_no_level_reaches_less_than_its_bound(problem: Problem) -> None:
    assume(problem.feasible(problem.cheapest) and not problem.feasible(problem.dense))
    dual, (cost, distortion) = dual_of(problem), joint(problem)
    within = np.where(cost <= problem.budget, distortion, np.inf)
    for group, bounds in enumerate(dual.level_bounds()):
        assert (bounds <= lowest_by_level(within, group) + ACCURACY).all()


def test_one_price_is_a_bound_too_and_more_are_no_worse() -> None:
    problem = chain(depth=3).problem(6, 0.4, seed=0)
    few, many = dual_of(problem, 1), dual_of(problem)
    assert len(few.points) == 1
    assert 0 <= few.bound <= many.bound <= brute_force(problem)


def test_ceilings_fall_from_what_is_known_to_the_bound() -> None:
    dual = dual_of(chain(depth=3).problem(6, 0.4, seed=0))
    found = dual.ceilings(dual.bound + 1)
    assert found[0] == dual.bound + 1
    assert found == sorted(found, reverse=True)
    assert found[-1] >= dual.bound
