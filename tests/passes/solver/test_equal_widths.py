"""Groups that keep equally many channels: the merged problem is the problem on its diagonal."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphprune.passes.solver import ALLOCATORS, EqualWidths, Problem

WIDTH = np.array([1, 2, 4])


@given(
    st.lists(st.tuples(st.lists(st.integers(0, 3), max_size=3), st.integers(1, 9)), max_size=6),
    st.lists(st.integers(0, 2), min_size=4, max_size=4),
    st.integers(0, 1000),
)
@settings(max_examples=60)
def test_costs_and_distortions_are_those_of_the_spread_levels(
    terms: list[tuple[list[int], int]], classes: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    curves = [np.sort(rng.random(3))[::-1] for _ in range(4)]
    polynomial = {tuple(sorted(key)): float(value) for key, value in terms}
    problem = Problem.from_polynomial([WIDTH] * 4, curves, polynomial, 1.0)
    ties = EqualWidths.of(classes)
    merged = ties.merged(problem)
    for levels in itertools.product(range(3), repeat=len(merged.widths)):
        assert merged.cost(levels) == pytest.approx(problem.cost(ties.spread(levels)))
        assert merged.distortion(levels) == pytest.approx(problem.distortion(ties.spread(levels)))


@given(st.lists(st.integers(0, 1), min_size=4, max_size=4), st.integers(0, 1000))
@settings(max_examples=40)
def test_classes_in_steps_are_solved_as_by_brute_force(classes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = [int(rng.integers(1, 4)) for _ in classes]
    ties = EqualWidths.of(classes, steps)
    widths = ties.common([np.arange(1, 4 * step + 1) for step in steps])
    assert [list(w) for w in widths] == [[s, 2 * s, 3 * s, 4 * s] for s in steps]
    curves = [np.sort(rng.random(4))[::-1] for _ in classes]
    polynomial = {(0, 1): 1.0, (1, 2): 2.0, (2, 3): 1.0, (3,): 1.0, (0, 0): 1.0}
    whole = Problem.from_polynomial(widths, curves, polynomial, 0.0)
    problem = Problem.from_polynomial(
        widths, curves, polynomial, (whole.cost((3,) * 4) + whole.cost((0,) * 4)) / 2
    )
    found = ties.whole(ALLOCATORS["dp"]()(ties.merged(problem)))
    allowed = [
        levels
        for levels in itertools.product(range(4), repeat=4)
        if len(set(zip(classes, levels, strict=True))) == len(set(classes))
        and problem.feasible(levels)
    ]
    best = min(map(problem.distortion, allowed))
    assert found.levels in allowed
    assert found.distortion == pytest.approx(best)
    assert found.lower_bound is not None
    assert found.lower_bound <= best + 1e-12


@pytest.mark.parametrize("method", ["dp", "global_threshold", "uniform", "random_search"])
def test_an_allocation_is_one_of_the_groups(method: str) -> None:
    curves = [np.array([9.0, 1.0, 0.0]), np.array([2.0, 1.5, 0.0]), np.array([5.0, 4.0, 0.0])]
    problem = Problem.from_polynomial([WIDTH] * 3, curves, {(0, 1): 1.0, (1, 2): 1.0}, 16.0)
    ties = EqualWidths.of([0, 1, 0])
    found = ties.whole(ALLOCATORS[method]()(ties.merged(problem)))
    assert found.levels[0] == found.levels[2]
    assert found.cost == pytest.approx(problem.cost(found.levels))
    assert found.cost <= 16.0


def test_only_common_widths_stay() -> None:
    found = EqualWidths.of("aba").common([np.array([1, 2, 4]), WIDTH, np.array([2, 3, 4])])
    assert [list(widths) for widths in found] == [[2, 4], [1, 2, 4], [2, 4]]


@pytest.mark.parametrize(
    ("keys", "steps", "terms"),
    [
        ("abc", (1, 1, 1), 4),
        ("aab", (1, 1, 1), 2),
        ("aaa", (1, 1, 1), 1),
        ("aba", (1, 1, 2), 4),  # twice as wide: by itself
    ],
)
def test_a_polynomial_in_the_first_widths_is_worth_the_same(
    keys: str, steps: tuple[int, ...], terms: int
) -> None:
    polynomial = {(0, 0): 2.0, (0, 1): 3.0, (0, 2): 5.0, (1, 2): 7.0}
    ties = EqualWidths.of(keys, steps)
    found = ties.in_firsts(polynomial)
    assert len(found) == terms
    candidates = ties.common([WIDTH * step for step in steps])
    given, written = (
        ties.merged(Problem.from_polynomial(candidates, [np.zeros(3)] * 3, each, 1e9))
        for each in (polynomial, found)
    )
    for levels in itertools.product(range(3), repeat=len(set(keys))):
        assert written.cost(levels) == pytest.approx(given.cost(levels))
