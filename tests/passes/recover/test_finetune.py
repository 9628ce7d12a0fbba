"""Fine-tuning with labels: lower cross-entropy on held-out samples or nothing, seeded, resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.data.labelled import Labelled, read_labelled
from graphprune.errors import OptionError
from graphprune.ir.trace import trace
from graphprune.passes import Finetune, Finetuned
from graphprune.passes.recover.samples import split
from graphprune.passes.recover.teacher_student import Teacher
from graphprune.pipeline import State
from tests.passes.recover.helpers import equal, weights


class Pairs:
    """Images whose class is their brightest colour."""

    def __init__(self, count: int = 320) -> None:
        draw = torch.Generator().manual_seed(1)
        self.x = torch.randn(count, 3, 6, 6, generator=draw)
        self.y = self.x.mean((2, 3)).argmax(1)

    def labelled(self, program: Any) -> Any:
        del program
        order = self.y.argsort()  # one class after the other, as folders are read
        yield from zip(self.x[order].split(7), self.y[order].split(7), strict=True)

    def calibration(self, program: Any, samples: int) -> Any:
        raise NotImplementedError


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(12, 3),
    )  # fmt: skip
    pairs, optimizer = Pairs(), torch.optim.AdamW(net.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(pairs.x), pairs.y).backward()
        optimizer.step()
    dense = trace(net.eval(), (torch.randn(2, 3, 6, 6),))
    small = gp.compress(dense, flops=0.3).program
    labelled = read_labelled(dense, pairs)
    return State(small).knowing(Teacher(dense), labelled)


def run(state: State, **options: Any) -> tuple[Any, Finetuned]:
    program, (found,) = Finetune(**{"epochs": 3, **options}).run(state)
    return program, found


def test_labels_are_learnt_and_measured_on_what_was_held_out(state: State) -> None:
    program, found = run(state, epochs=6, augment=("flip",))
    data = state[Labelled].data
    numbers, aside = split(data)
    assert found.steps == 6 * (sum(len(data.batches[i][-1]) for i in numbers) // 32)
    assert found.samples == 320
    assert found.after < 0.8 * found.before
    assert found.accuracy_after > found.accuracy_before + 0.15
    x = torch.cat([data.batches[i][0] for i in aside])
    y = torch.cat([data.batches[i][1] for i in aside])
    with torch.no_grad():
        logits = program.module()(x)
    assert float((logits.argmax(1) == y).float().mean()) == pytest.approx(found.accuracy_after)
    assert float(nn.functional.cross_entropy(logits, y)) == pytest.approx(found.after, rel=1e-4)


def test_what_gets_worse_is_dropped(state: State) -> None:
    program, found = run(state, rate=1e6, epochs=1)
    assert found.after <= found.before
    if found.after == found.before:
        assert program is state.program
        assert found.accuracy_after == found.accuracy_before


def test_a_killed_run_goes_on_to_the_same_weights(state: State, tmp_path: Path) -> None:
    whole, _ = run(state)

    class KilledError(Exception):
        pass

    said: list[str] = []

    def die(stage: str) -> None:
        said.append(stage)
        if stage.startswith(("finetune  5", "finetune  6")):
            raise KilledError

    dying = State(state.program, progress=die).knowing(state[Teacher], state[Labelled])
    file = tmp_path / "run"
    with pytest.raises(KilledError):
        run(dying, checkpoint=file)
    assert any("left" in stage for stage in said)
    again, found = run(state, checkpoint=file)
    assert equal(weights(again), weights(whole))
    assert file.is_file()
    other, _ = run(state, checkpoint=file, seed=1)  # another run: not resumed
    assert not equal(weights(other), weights(whole))
    assert found.epochs == 3


def test_options_without_meaning_are_refused() -> None:
    with pytest.raises(OptionError, match="mixed inputs have no label"):
        Finetune(epochs=1, augment=("mix",))
    with pytest.raises(OptionError, match="at least 1 epoch"):
        Finetune(epochs=0)
