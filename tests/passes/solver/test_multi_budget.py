"""Several budgets at once: all are met, and the bound holds for all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphprune.passes.solver import (
    Allocation,
    DynamicProgramming,
    JointlyInfeasible,
    Problem,
    Uniform,
    allocate,
)
from tests.passes.solver.structures import ROUNDING, chain, joint, random_curve

EXACT = DynamicProgramming(tolerance=0.0)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Problem, Problem]:
    """Two costs of the same groups, with budgets of their own."""
    count = draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    widths = [np.cumsum(rng.integers(1, 5, 5)) for _ in range(count)]
    curves = [random_curve(5, rng, convex=draw(st.booleans())) for _ in range(count)]
    found = []
    for _ in range(2):
        scopes = draw(st.lists(st.sets(st.integers(0, count - 1), max_size=2), min_size=1))
        terms = {tuple(sorted(scope)): float(rng.integers(1, 50)) for scope in scopes}
        dense = sum(w * np.prod([float(widths[g][-1]) for g in key]) for key, w in terms.items())
        share = draw(st.floats(0.05, 1.1))
        found.append(Problem.from_polynomial(widths, curves, terms, share * float(dense)))
    return found[0], found[1]


def outcome(
    problems: Sequence[Problem],
) -> tuple[Allocation | None, JointlyInfeasible | None]:
    try:
        return allocate(problems, EXACT), None
    except JointlyInfeasible as error:
        return None, error


@settings(max_examples=40)
@given(pairs())
def test_all_budgets_are_met_and_the_bound_is_one(problems: tuple[Problem, Problem]) -> None:
    tables = [joint(problem) for problem in problems]
    fits = np.logical_and.reduce([
        cost <= problem.budget * (1 + ROUNDING)
        for (cost, _), problem in zip(tables, problems, strict=True)
    ])
    best = np.where(fits, tables[0][1], np.inf).min()
    found, refused = outcome(problems)
    assert refused is None or refused.ratios.max() > 1
    if found is None:
        return
    ratios = [problem.cost(found.levels) / problem.budget for problem in problems]
    assert max(ratios) <= 1 + ROUNDING
    assert found.cost == pytest.approx(max(ratios))
    assert found.distortion >= best - ROUNDING
    assert found.lower_bound is None or found.lower_bound <= best + ROUNDING


def test_a_budget_that_asks_for_nothing_changes_nothing() -> None:
    problem = chain(depth=3).problem(8, 0.4, seed=0)
    loose = replace(problem, budget=2 * problem.cost(problem.dense))
    alone = EXACT(problem)
    for order in ([problem, loose], [loose, problem], [problem]):
        found = allocate(order, EXACT)
        assert found.distortion == pytest.approx(alone.distortion)
        assert found.method == "dp"


def test_what_none_reaches_says_how_far_the_nearest_is() -> None:
    problem = chain(depth=3).problem(4, 0.5, seed=0)
    short = replace(problem, budget=problem.smallest_cost() / 2)
    with pytest.raises(JointlyInfeasible, match="times the budgets") as error:
        allocate([problem, short], EXACT)
    assert error.value.ratios[1] == pytest.approx(2)
    assert error.value.ratios[0] < 1


def test_a_cost_that_the_tables_only_come_near_is_asked_for_itself() -> None:
    problem = chain(depth=3).problem(0, 0.5, seed=0)
    asked: list[tuple[int, ...]] = []

    def exact(levels: tuple[int, ...]) -> np.ndarray:
        asked.append(levels)
        return np.array([1.1 * problem.cost(levels) / problem.budget])

    for allocator in (EXACT, Uniform()):
        found = allocate([problem], allocator, exact)
        assert found.cost == pytest.approx(1.1 * problem.cost(found.levels) / problem.budget)
        assert 0.9 < found.cost <= 1 + ROUNDING
        assert found.lower_bound is None
        assert found.levels in asked


def test_a_budget_that_is_missed_by_little_again_and_again_is_not_given_up() -> None:
    width, curves = np.array([1, 2, 3]), [np.array([2.0, 1.0, 0.0]), np.array([6.0, 3.0, 0.0])]
    first = Problem.from_polynomial([width] * 2, curves, {(0,): 7.0, (): 7.0}, 26.0)
    second = Problem.from_polynomial([width] * 2, curves, {(0, 1): 3.0, (1,): 175.0}, 439.0)
    found = allocate([first, second], EXACT)
    assert first.feasible(found.levels)
    assert second.feasible(found.levels)
