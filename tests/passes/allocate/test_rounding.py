"""Widths that run fast: multiples by the width of a group."""

from __future__ import annotations

import numpy as np
import pytest

from graphprune.passes.allocate.rounding import fast_multiple, rounded


@pytest.mark.parametrize(
    ("width", "multiple"),
    [(1, 1), (7, 1), (8, 2), (12, 2), (16, 4), (31, 4), (32, 8), (63, 8), (64, 16), (2048, 16)],
)
def test_a_group_has_at_least_four_steps(width: int, multiple: int) -> None:
    assert fast_multiple(width) == multiple
    assert multiple == 1 or width // multiple >= 4


def test_fast_widths_are_multiples() -> None:
    assert rounded(np.arange(1, 41), 40, "fast").tolist() == [8, 16, 24, 32, 40]
    assert rounded(np.arange(1, 7), 6, "fast").tolist() == [1, 2, 3, 4, 5, 6]


def test_the_dense_width_always_stays() -> None:
    assert rounded(np.arange(1, 38), 37, "fast").tolist() == [8, 16, 24, 32, 37]
    assert rounded(np.arange(1, 38), 37, 16).tolist() == [16, 32, 37]


def test_other_ways_to_round() -> None:
    widths = np.arange(1, 21)
    assert (
        rounded(widths, 20, 1).tolist() == rounded(widths, 20, "auto").tolist() == widths.tolist()
    )
    assert rounded(np.arange(9, 21), 20, 8).tolist() == [16, 20]
