"""Steps or a time."""

from __future__ import annotations

import pytest

from graphprune.errors import OptionError
from graphprune.passes import Effort


@pytest.mark.parametrize(
    ("text", "steps", "seconds"),
    [
        ("2000", 2000, 0),
        (7, 7, 0),
        ("5m", 0, 300),
        ("90s", 0, 90),
        ("1.5h", 0, 5400),
    ],
)
def test_efforts(text: str | int, steps: int, seconds: float) -> None:
    assert Effort.parse(text) == Effort(steps, seconds)


@pytest.mark.parametrize("text", ["", "0", "0m", "-5", "five", "5d", "1.5", "5m5s", "1e3", "nan"])
def test_what_is_no_effort(text: str) -> None:
    with pytest.raises(OptionError):
        Effort.parse(text)
