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


@pytest.mark.parametrize(
    ("steps", "seconds"), [(0, 0), (5, 5.0), (-1, 0), (0, -1.0), (-1, 5.0), (5, -1.0)]
)
def test_either_steps_or_a_time(steps: int, seconds: float) -> None:
    with pytest.raises(OptionError, match="a positive number of steps, or a time"):
        Effort(steps, seconds)


def test_a_share_is_of_what_was_asked_for() -> None:
    assert [Effort(steps=8).share(n, 1e9) for n in (0, 2, 8, 16)] == [0, 0.25, 1, 2]
    assert [Effort(seconds=4.0).share(10**9, s) for s in (0.0, 1.0, 4.0)] == [0, 0.25, 1]
