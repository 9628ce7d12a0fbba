"""What moves the weights, and how fast."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphprune.passes.recover import optimizers
from tests.passes.recover.helpers import Case, equal, weights


def test_a_run_at_another_default_rate_is_another_one(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / ".out.distil"
    before = case.run(rate=0, checkpoint=checkpoint)[0]
    monkeypatch.setattr(optimizers, "RATES", {**optimizers.RATES, "muon": 0.01})
    after = case.run(rate=0, checkpoint=checkpoint)[0]
    assert not equal(weights(after), weights(before))
    assert equal(weights(after), weights(case.run(rate=0)[0]))
