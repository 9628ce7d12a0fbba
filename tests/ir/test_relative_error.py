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
