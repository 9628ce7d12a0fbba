"""The error that rounding explains, and never more than one in a hundred."""

from __future__ import annotations

import pytest

from graphprune.verify.rounding import MOST_TOLERANCE, allowed_error


@pytest.mark.parametrize(
    ("least", "rounding", "found"),
    [
        (1e-4, 0, 1e-4),
        (1e-4, 1e-6, 1e-4),
        (1e-4, 5e-5, 5e-4),
        (1e-4, 0.5, MOST_TOLERANCE),
        (2e-2, 0.5, 2e-2),
    ],
)
def test_it_lies_between_the_usual_and_the_most(
    least: float, rounding: float, found: float
) -> None:
    assert allowed_error(least, rounding) == pytest.approx(found)
