"""The loop: it ends when it should, and goes on after a kill."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graphprune.errors import LoadError
from graphprune.passes import Effort
from graphprune.passes.recover import training
from graphprune.report import text
from tests.passes.recover.helpers import Case, equal, weights

ASTRAY: dict[str, Any] = {"rate": 4.0, "effort": Effort(steps=40)}


@pytest.mark.parametrize(("after", "rates"), [(1, {}), (5, {}), (9, {}), (8, ASTRAY)])
def test_a_killed_run_goes_on(
    case: Case, tmp_path: Path, after: int, rates: dict[str, Any]
) -> None:
    class KilledError(Exception):
        pass

    seen: list[str] = []

    def kill(news: str) -> None:
        seen.append(news)
        if len(seen) > after:
            raise KilledError

    checkpoint = tmp_path / ".out.distil"
    whole = case.run(**rates)
    with pytest.raises(KilledError):
        case.run(checkpoint=checkpoint, progress=kill, **rates)
    assert [path.name for path in tmp_path.iterdir()] == [".out.distil"]
    again: list[str] = []
    program, found = case.run(checkpoint=checkpoint, progress=again.append, **rates)
    assert equal(weights(program), weights(whole[0]))
    assert replace(found, seconds=0) == replace(whole[1], seconds=0)
    total: list[str] = []
    case.run(progress=total.append, **rates)
    assert len(again) == len(total) - after
    # Done is done; and another run doesn't begin in the middle.
    assert equal(weights(case.run(checkpoint=checkpoint, **rates)[0]), weights(whole[0]))
    for options in ({"seed": 1}, {"rate": 0.02}):
        other = case.run(checkpoint=checkpoint, **options)
        assert equal(weights(other[0]), weights(case.run(**options)[0]))


def test_training_that_leads_astray_starts_again_with_smaller_rates(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, found = case.run(**ASTRAY)
    assert found.after < 0.5 * found.before
    monkeypatch.setattr(training, "HALFWAY", 2.0)
    assert found.after < case.run(**ASTRAY)[1].after


def test_something_else_in_the_checkpoints_place(case: Case, tmp_path: Path) -> None:
    path = tmp_path / ".out.distil"
    path.write_bytes(b"something else")
    with pytest.raises(LoadError, match="neither a zip archive nor a pickle"):
        case.run(checkpoint=path)


def test_a_time_ends_it(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock) / 100)
    _, found = case.run(effort=Effort(seconds=0.5))
    assert found.steps >= 1
    assert 0.5 <= found.seconds < 0.6


def test_a_time_too_short_for_one_step(case: Case) -> None:
    program, found = case.run(effort=Effort(seconds=1e-6))
    assert program is case.small
    assert (found.steps, found.after) == (0, found.before)
    assert "no step taken" in text.distilled(vars(found))
