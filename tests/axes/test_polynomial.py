"""Costs as polynomials: arithmetic on them is arithmetic on their values."""

from __future__ import annotations

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from graphprune.axes.polynomial import Costs, Polynomial, total

KEYS = st.lists(st.integers(0, 2), max_size=2).map(lambda key: tuple(sorted(key)))
POLYNOMIALS = st.dictionaries(KEYS, st.integers(-9, 9).map(float), max_size=4).map(Polynomial)
WIDTHS = st.lists(st.integers(1, 50), min_size=3, max_size=3)


@given(POLYNOMIALS, POLYNOMIALS, WIDTHS)
def test_values_add_and_multiply(a: Polynomial, b: Polynomial, widths: list[int]) -> None:
    assert (a * b).at(widths) == a.at(widths) * b.at(widths)
    assert total([a, b, a]).at(widths) == 2 * a.at(widths) + b.at(widths)
    assert a.scaled(0.5).at(widths) == 0.5 * a.at(widths)


@given(POLYNOMIALS, WIDTHS)
def test_the_expression_has_the_same_value(a: Polynomial, widths: list[int]) -> None:
    symbols = sympy.symbols("w0:3")
    found = a.expression(symbols).subs(dict(zip(symbols, widths, strict=True)))
    assert float(found) == pytest.approx(a.at(widths))


def test_constants() -> None:
    assert Polynomial.constant(3).at([]) == 3
    assert Polynomial.constant(0).terms == {}
    assert total([]).at([1]) == 0
    assert list(total([Polynomial({(1,): 1.0, (): 2.0})]).terms) == [(), (1,)]


def test_a_cost_by_its_name() -> None:
    symbols = sympy.symbols("a b")
    zero = Polynomial.constant(0)
    costs = Costs(Polynomial({(0, 1): 9.0, (0,): 1.0}), zero, zero, zero, 1, symbols)
    a, b = symbols
    assert costs.expression("macs") == 9 * a * b + a
    assert costs.expression("params") == 0


def test_switches_vanish_with_their_group() -> None:
    cost = Polynomial({(1,): 3.0}) * Polynomial.switch([0])
    assert (cost.at([5, 2]), cost.at([1, 2]), cost.at([0, 2])) == (6, 6, 0)
    assert (cost * Polynomial.switch([0])).terms == cost.terms
    assert (cost * Polynomial({(0,): 1.0})).terms == {(0, 1): 3.0}
    assert Polynomial.switch([]).at([0, 0]) == 1
    symbols = sympy.symbols("a b")
    assert cost.expression(symbols).subs({symbols[0]: 0, symbols[1]: 2}) == 0
    assert cost.expression(symbols).subs({symbols[0]: 4, symbols[1]: 2}) == 6
