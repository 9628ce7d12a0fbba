"""The problem's data: polynomials, tables, restriction, lowest cost, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphprune.passes.solver import Allocation, Factor, Infeasible, Problem
from tests.passes.solver.structures import densenet, joint, problems

ROUNDING = 1e-9  # sums of a few dozen float64 numbers, in different orders
WIDTH = np.array([1, 2, 4])
CURVE = np.array([2.0, 1.0, 0.0])


@given(
    st.lists(st.tuples(st.lists(st.integers(0, 3), max_size=4), st.integers(1, 1000)), max_size=8),
    st.lists(st.integers(0, 2), min_size=4, max_size=4),
)
def test_cost_is_the_polynomial(terms: list[tuple[list[int], int]], levels: list[int]) -> None:
    polynomial = {tuple(sorted(key)): float(value) for key, value in terms}
    problem = Problem.from_polynomial([WIDTH] * 4, [CURVE] * 4, polynomial, 1.0)
    direct = sum(
        value * np.prod([float(WIDTH[levels[group]]) for group in key])
        for key, value in polynomial.items()
    )
    assert problem.cost(levels) == pytest.approx(direct, rel=ROUNDING)


def test_small_scopes_are_absorbed_by_large_ones() -> None:
    polynomial = {(): 1.0, (0,): 2.0, (0, 1): 3.0, (1, 1): 4.0, (2,): 5.0, (0, 0, 1): 6.0}
    problem = Problem.from_polynomial([WIDTH] * 3, [CURVE] * 3, polynomial, 1.0)
    assert [factor.scope for factor in problem.factors] == [(0, 1), (2,)]


def test_absorbing_adds_no_interaction() -> None:
    net = densenet((2, 2))
    pairs = {key for key in net.macs if len(key) == 2}
    problem = net.problem(4, 0.5, seed=0)
    assert {factor.scope for factor in problem.factors} == pairs


@settings(max_examples=50)
@given(problems(monotone=False))
def test_smallest_cost(problem: Problem) -> None:
    assert problem.smallest_cost() == pytest.approx(joint(problem)[0].min(), rel=ROUNDING)


@settings(max_examples=50)
@given(problems())
def test_restriction_keeps_cost_and_distortion(problem: Problem) -> None:
    choice = [np.arange(size)[::2] for size in problem.sizes]
    sub = problem.restrict(choice)
    inner = tuple(len(kept) - 1 for kept in choice)
    outer = tuple(int(kept[-1]) for kept in choice)
    assert sub.cost(inner) == pytest.approx(problem.cost(outer), rel=ROUNDING)
    assert sub.distortion(inner) == problem.distortion(outer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": (WIDTH,)}, "1 widths but 2 curves"),
        ({"widths": (WIDTH, WIDTH[::-1])}, "group 1: widths must ascend"),
        ({"curves": (CURVE, CURVE[:2])}, "group 1: .* distortions"),
        ({"curves": (CURVE[::-1], CURVE)}, "group 0: a curve must"),
        ({"curves": (CURVE - 1, CURVE)}, "group 0: a curve must"),
        ({"factors": (Factor((1, 0), np.ones((3, 3))),)}, "not strictly increasing"),
        ({"factors": (Factor((2,), np.ones(3)),)}, "unknown group"),
        ({"factors": (Factor((0,), np.ones(2)),)}, "table shape"),
        ({"factors": (Factor((0,), np.full(3, np.nan)),)}, "must be finite"),
        ({"budget": float("nan")}, "not a number"),
    ],
)
def test_refuses(change: dict[str, object], message: str) -> None:
    fields = {
        "widths": (WIDTH, WIDTH),
        "curves": (CURVE, CURVE),
        "factors": (Factor((0, 1), np.ones((3, 3))),),
        "budget": 1.0,
    }
    with pytest.raises(ValueError, match=message):
        Problem(**(fields | change))


def test_gap() -> None:
    problem = Problem.from_polynomial([WIDTH], [CURVE], {(0,): 1.0}, 4.0)
    assert Allocation.of(problem, (1,), "x").gap is None
    assert Allocation.of(problem, (1,), "x", 0.8).gap == pytest.approx(0.25)
    assert Allocation.of(problem, (1,), "x", 0.0).gap == float("inf")
    assert Allocation.of(problem, (2,), "x", 0.0).gap == 0.0
    assert Allocation.of(problem, (1,), "x", 1.5).lower_bound == 1.0


def test_infeasible_says_what_is_reachable() -> None:
    assert "smallest reachable cost is 12.5" in str(Infeasible(12.5))
