"""Cost tables: summed, aligned and read without a change of the cost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.passes.solver import Factor
from graphprune.passes.solver.cost_tables import (
    absorb,
    aligned,
    cells,
    few_switches,
    polynomial_factors,
)
from tests.passes.solver.structures import ROUNDING

SIZES = (2, 3, 4, 2)


@st.composite
def factor_lists(draw: st.DrawFn) -> list[Factor]:
    scopes = draw(st.lists(st.sets(st.integers(0, 3), max_size=3), max_size=6))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return [
        Factor(tuple(sorted(scope)), rng.integers(0, 9, [SIZES[g] for g in sorted(scope)]) * 1.0)
        for scope in scopes
    ]


@given(factor_lists())
def test_absorbing_keeps_the_sum_and_the_given_tables(factors: list[Factor]) -> None:
    before = [factor.table.copy() for factor in factors]
    found = absorb(factors)
    for levels in np.ndindex(*SIZES):
        total = sum(factor(levels) for factor in factors)
        assert sum(factor(levels) for factor in found) == pytest.approx(total, rel=ROUNDING)
    scopes = [set(factor.scope) for factor in found]
    assert not any(a < b or (a == b and a is not b) for a in scopes for b in scopes)
    for factor, table in zip(factors, before, strict=True):
        np.testing.assert_array_equal(factor.table, table)


@given(st.permutations([0, 1, 2]))
def test_aligned_tables_are_read_by_group(scope: list[int]) -> None:
    table = np.arange(24.0).reshape([SIZES[group] for group in scope])
    wide = aligned(table, tuple(scope), (0, 1, 2, 3))
    assert wide.shape == (2, 3, 4, 1)
    for levels in np.ndindex(2, 3, 4):
        assert wide[(*levels, 0)] == table[tuple(levels[group] for group in scope)]


def test_along_a_group_the_others_stay() -> None:
    factor = Factor((0, 2), np.arange(8.0).reshape(2, 4))
    assert factor.along(2, (1, 0, 3)).tolist() == [4, 5, 6, 7]
    assert factor.along(0, (1, 0, 3)).tolist() == [3, 7]
    assert factor((1, 0, 3)) == 7


def test_a_constant_is_a_table_without_groups() -> None:
    (factor,) = polynomial_factors([np.array([1, 2])], {(): 5.0})
    assert factor.scope == ()
    assert factor((1,)) == 5
    assert cells(SIZES, ()) == 1
    assert cells(SIZES, (1, 2)) == 12


def test_terms_with_many_switches_keep_those_that_fit_and_only_grow() -> None:
    widths = [np.arange(size) for size in (10, 40, 50, 60, 70)]
    polynomial = {
        (-5, -4, -3, -2, 0): 2.0,  # 10 * 40 * 50 entries fit, and no more
        (-5, -4, -3, -2, 1): -1.0,
        (-2, 0): 3.0,
        (): 5.0,
    }
    found = few_switches(widths, polynomial)
    assert found == {(-3, -2, 0): 2.0, (-2, 0): 3.0, (): 5.0}
    assert few_switches(widths[:1] * 5, polynomial) == polynomial
    generator = np.random.default_rng(0)
    for _ in range(20):
        levels = [int(generator.integers(len(w))) * int(generator.integers(2)) for w in widths]
        less, more = (
            sum(f(levels) for f in polynomial_factors(widths, each))
            for each in ({k: v for k, v in polynomial.items() if k != (-5, -4, -3, -2, 1)}, found)
        )
        assert more >= less
