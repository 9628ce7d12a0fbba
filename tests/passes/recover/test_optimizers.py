"""What moves the weights, and how fast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from graphprune.ir.trainable import trainable_graph
from graphprune.passes.recover import optimizers
from graphprune.passes.recover.muon import Muon
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


def made(case: Case, name: str, rate: float = 0.0, *, alone: bool = False) -> list[Any]:
    student = trainable_graph(case.small)
    batches = list(case.data.batches[:2])
    found = optimizers.optimizers(name, rate, student, case.small, batches, alone=alone)
    held = [id(p) for each in found for group in each.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in student.parameters())
    return list(found)


def test_adamw_moves_everything_without_decay(case: Case) -> None:
    for rate, expected in ((0.0, optimizers.RATES["adamw"]), (0.3, 0.3)):
        (found,) = made(case, "adamw", rate)
        assert isinstance(found, torch.optim.AdamW)
        (group,) = found.param_groups
        assert (group["lr"], group["weight_decay"]) == (expected, 0)


def test_muon_moves_matrices_and_adamw_the_rest(case: Case) -> None:
    muon, rest = made(case, "muon")
    assert isinstance(muon, Muon)
    moved = [p for group in muon.param_groups for p in group["params"]]
    others = [p for group in rest.param_groups for p in group["params"]]
    assert len(moved) == 3  # two convolutions and a linear layer
    assert all(p.ndim > 1 for p in moved)
    assert all(p.ndim == 1 for p in others)
    assert muon.param_groups[0]["lr"] == pytest.approx(optimizers.RATES["muon"] / 3)


def test_outputs_alone_are_trained_at_half_the_rate(case: Case) -> None:
    both, alone = (made(case, "muon", alone=flag)[0] for flag in (False, True))
    assert alone.param_groups[0]["lr"] == pytest.approx(both.param_groups[0]["lr"] / 2)
    asked = made(case, "muon", 0.6, alone=True)[0]
    assert asked.param_groups[0]["lr"] == pytest.approx(0.2)
