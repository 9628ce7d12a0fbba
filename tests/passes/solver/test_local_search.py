"""Local search, filling, and landing near the budget."""

from __future__ import annotations

from hypothesis import given, settings

from graphprune.passes.solver import Problem, approach
from graphprune.passes.solver.local_search import fill, polish
from tests.passes.solver.structures import ROUNDING, SMALL, problems, resnet_basic


@settings(max_examples=50)
@given(SMALL)
def test_never_worse_never_over_budget(problem: Problem) -> None:
    start = problem.cheapest
    for improve in (polish, fill):
        levels = improve(problem, start)
        assert problem.feasible(levels)
        assert problem.distortion(levels) <= problem.distortion(start)
        assert improve(problem, levels) == levels


@settings(max_examples=50)
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
