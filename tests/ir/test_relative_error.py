"""Errors of tensors, relative to their largest number."""

from __future__ import annotations

import math

import pytest
import torch

from graphprune.ir.relative_error import largest_finite, relative_error


@pytest.mark.parametrize("infinity", [math.inf, -math.inf, math.nan])
def test_a_difference_beside_infinities_counts(infinity: float) -> None:
    """As of scores that a mask forbids: relative to infinity, all differences would be none."""
    expected = torch.tensor([4.0, infinity])
    assert relative_error(expected, expected) == 0
    assert relative_error(torch.tensor([3.0, infinity]), expected) == pytest.approx(0.25)
    assert relative_error(torch.tensor([4.0, 1e30]), expected) == math.inf
    assert relative_error(expected, torch.tensor([4.0, 1e30])) == math.inf


def test_the_largest_number_is_a_finite_one() -> None:
    assert largest_finite(torch.tensor([-3.0, 2.0, math.inf, math.nan])) == 3
    assert largest_finite(torch.tensor([math.inf])) == largest_finite(torch.zeros(0)) == 0


def test_tiny_numbers_are_relative_to_the_smallest_normal_one_or_to_a_floor() -> None:
    small, other = (torch.tensor([x], dtype=torch.float16) for x in (6e-8, 1.2e-7))
    assert relative_error(other, small) < 1e-2
    assert relative_error(torch.tensor([1.5]), torch.tensor([1.0]), floor=2.0) == 0.25


def test_infinite_complex_numbers_have_to_be_equal() -> None:
    expected = torch.tensor([1 + 1j, complex(math.inf, 1)])
    assert relative_error(expected, expected) == 0
    assert relative_error(torch.tensor([1 + 1j, complex(-math.inf, 1)]), expected) == math.inf


@pytest.mark.parametrize("fill", [torch.finfo(torch.float32).min, -1e9, 65504.0, -1e4])
def test_a_difference_beside_fills_counts(fill: float) -> None:
    """As of scores that a mask forbids with a huge finite number: relative to it, all differences would be none."""
    expected = torch.tensor([[4.0, fill, 0.0], [fill, 2.0, fill]])
    assert relative_error(expected, expected) == 0
    wrong = torch.tensor([[3.0, fill, 0.0], [fill, 2.0, fill]])
    assert relative_error(wrong, expected) == pytest.approx(0.25)
    moved = torch.tensor([[fill, 4.0, 0.0], [fill, 2.0, fill]])
    assert relative_error(moved, expected) > 0.9


def test_large_numbers_that_are_no_fills_give_the_size() -> None:
    spread = torch.logspace(0, 6, 13)
    assert relative_error(spread + 1, spread) == pytest.approx(1e-6, rel=0.1)
    rounded = torch.tensor([1e9, 1e-7])
    assert relative_error(torch.tensor([1e9 + 64, 2e-7]), rounded) < 1e-6
    assert relative_error(torch.tensor([1e9, 0.0]), torch.tensor([1e9, 0.0])) == 0
