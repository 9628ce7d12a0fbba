"""The search over states: exact where all are kept, and honest where they are not."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings

from graphprune.passes.solver import Problem
from graphprune.passes.solver.elimination import Elimination
from graphprune.passes.solver.pareto_search import ParetoSearch
from graphprune.passes.solver.relaxation import Relaxation
from tests.passes.solver.structures import ROUNDING, SMALL, WEIGHTS, brute_force, chain


def search(problem: Problem, weight: float, keep: int) -> ParetoSearch:
    relaxation = Relaxation(problem, (0,) * len(problem.sizes))
    elimination = Elimination.plan(relaxation.sizes, relaxation.factors, 10_000)
    return ParetoSearch(problem, relaxation, elimination, weight, keep)


def dearest(problem: Problem) -> float:
    """More than any choice distorts."""
    return 1.0 + sum(float(curve[0]) for curve in problem.curves)


@settings(max_examples=50)
@given(SMALL, WEIGHTS)
def test_all_states_find_the_best_choice_at_any_price(problem: Problem, weight: float) -> None:
    assume(problem.feasible(problem.cheapest))
    levels, floor = search(problem, weight, 10_000).run(dearest(problem))
    assert levels is not None
    assert problem.feasible(levels)
    best = brute_force(problem)
    assert problem.distortion(levels) == pytest.approx(best, rel=ROUNDING, abs=ROUNDING)
    assert floor >= best - ROUNDING


@settings(max_examples=50)
@given(SMALL, WEIGHTS)
def test_one_state_finds_what_it_can_and_says_what_it_missed(
    problem: Problem, weight: float
) -> None:
    assume(problem.feasible(problem.cheapest))
    levels, floor = search(problem, weight, 1).run(dearest(problem))
    found = float("inf") if levels is None else problem.distortion(levels)
    assert levels is None or problem.feasible(levels)
    assert min(found, floor) <= brute_force(problem) + ROUNDING * dearest(problem)


def test_nothing_is_found_below_the_best() -> None:
    problem = chain(depth=3).problem(6, 0.4, seed=0)
    best = brute_force(problem)
    levels, floor = search(problem, 0.0, 1000).run(0.99 * best)
    assert levels is None
    assert floor == pytest.approx(0.99 * best)
