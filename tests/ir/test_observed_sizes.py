"""Sizes that follow from trial runs."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
import sympy

from graphprune.errors import LoadError
from graphprune.ir.observed_sizes import ObservedRun, result_sizes

N, H = sympy.symbols("n h", integer=True, positive=True)


def runs(*pairs: tuple[Any, Any]) -> list[ObservedRun]:
    return [ObservedRun((tuple(a),), (tuple(b),)) for a, b in pairs]


def told(seen: list[ObservedRun], *given: list[Any]) -> list[Any]:
    numbers = count()
    return result_sizes("node", seen, given, lambda: sympy.Symbol(f"u{next(numbers)}"))[0]


def test_a_size_is_a_number_or_that_of_an_input_or_follows_from_one() -> None:
    seen = runs(
        ((2, 8), (2, 7, 3)),
        ((4, 8), (4, 7, 3)),
        ((4, 10), (4, 9, 3)),
        ((6, 14), (6, 13, 3)),
    )
    assert told(seen, [N, H]) == [N, H - 1, 3]
    assert told(seen, [2, 8]) == [2, 7, 3]
    assert told(seen, [N, 8]) == [N, 7, 3]


def test_a_multiple_is_told_from_three_runs() -> None:
    seen = runs(((1, 4), (8,)), ((2, 4), (16,)), ((5, 4), (40,)))
    assert told(seen, [N, 4]) == [8 * N]
    with pytest.raises(LoadError, match="follow no rule"):
        told(seen[:2], [N, 4])


def test_a_size_of_two_inputs_is_not_told() -> None:
    seen = runs(((1, 4), (4,)), ((2, 4), (8,)), ((2, 6), (12,)), ((3, 8), (24,)))
    with pytest.raises(LoadError, match="follow no rule"):
        told(seen, [N, H])
    assert told(seen, [2, 6]) == [12]


def test_an_open_size_that_no_run_varied_is_not_told() -> None:
    seen = runs(((1, 4), (1, 4)), ((2, 4), (2, 4)))
    with pytest.raises(LoadError):
        told(seen, [N, H])
    with pytest.raises(LoadError):  # nor one that was never tried
        told(seen, [3, 4])


def test_a_size_that_depends_on_values_has_a_symbol_of_its_own() -> None:
    seen = runs(((2, 6), (5, 2)), ((2, 6), (7, 2)), ((4, 6), (11, 2)))
    assert told(seen, [2, 6]) == [sympy.Symbol("u0"), 2]
    assert told(seen, [N, 6]) == [sympy.Symbol("u0"), 2]


def test_results_of_several_ranks_are_not_told() -> None:
    with pytest.raises(LoadError):
        told(runs(((2, 6), (5,)), ((2, 6), (5, 1))), [2, 6])
