"""Charges on widths: the least sum of distortion and charges, as found by trying all choices."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphprune.passes.solver import Charged, DynamicProgramming, Problem

WIDTHS = (np.array([1, 2, 4]),) * 3


def drawn(seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    curves = [np.append(np.sort(rng.random(2))[::-1] + 0.1, 0.0) for _ in WIDTHS]
    terms = {(0, 1): 1.0, (1, 2): 2.0, (2,): 3.0}
    return Problem.from_polynomial(WIDTHS, curves, terms, float(rng.uniform(8, 40)))


@given(st.integers(0, 500), st.floats(0, 2))
@settings(max_examples=60)
def test_sums_are_the_least_of_all_choices_within_the_budget(seed: int, price: float) -> None:
    problem = drawn(seed)
    charges = [price * np.array([0.0, 0.2, 0.9]) for _ in WIDTHS]

    def total(levels: tuple[int, ...]) -> float:
        return problem.distortion(levels) + sum(
            float(charge[level]) for charge, level in zip(charges, levels, strict=True)
        )

    found = Charged(charges)(problem)
    choices = filter(problem.feasible, itertools.product(range(3), repeat=3))
    assert problem.feasible(found.levels)
    assert total(found.levels) == pytest.approx(min(map(total, choices)), rel=1e-3)
    assert found.distortion == problem.distortion(found.levels)


def test_without_charges_it_is_the_plain_allocation() -> None:
    problem = drawn(3)
    free = Charged([np.zeros(3)] * 3)(problem)
    assert free.levels == DynamicProgramming()(problem).levels


def test_what_is_charged_for_is_left_even_where_the_budget_allows_it() -> None:
    problem = drawn(5)
    charges = [np.array([0.0, 10.0, 20.0]), np.zeros(3), np.zeros(3)]
    assert Charged(charges)(problem).levels[0] == 0
