"""The points of a sweep: ranges, files and a picture."""

from __future__ import annotations

import pytest

from graphprune.errors import PlanError
from graphprune.report.budget_curve import shares


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.3..0.9", (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)),
        ("50%..60%:2", (0.5, 0.6)),
        ("0.5", (0.5,)),
    ],
)
def test_ranges(text: str, found: tuple[float, ...]) -> None:
    assert shares(text) == found


@pytest.mark.parametrize("text", ["", "0.3..", "0.3..1.2", "0", "0.3..0.9:1", "0.3..0.9:x", "1G"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(PlanError):
        shares(text)
