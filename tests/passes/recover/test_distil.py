"""Distillation: lower error or nothing, seeded, resumable, on any kind of output."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

import graphprune as gp
from graphprune.data.calibration import Calibration, gather
from graphprune.errors import LoadError, OptionError
from graphprune.ir.program import state, unlift
from graphprune.ir.trace import trace
from graphprune.passes import Distil, Distilled, Effort
from graphprune.passes.recover import optimizers
from graphprune.passes.recover.distance import Distance, moment_sums
from graphprune.passes.recover.samples import split
from graphprune.passes.recover.teacher_student import Teacher
from graphprune.pipeline import Progress, State
from graphprune.report import text
from tests import nets


class Case:
    """A dense program, a smaller one, and data."""

    def __init__(self, net: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.dense = trace(net, inputs)
        self.small = gp.compress(self.dense, flops=0.5, score="random").program
        generator = torch.Generator().manual_seed(1)
        self.data = gather(
            [tuple(_like(x, generator) for x in inputs) for _ in range(16)], self.dense
        )

    def distil(self, **options: Any) -> Distil:
        return Distil(**{"effort": Effort(steps=30), "rate": 0.01, **options})

    def state(self, program: ExportedProgram, progress: Progress | None = None) -> State:
        return State(program, progress=progress).knowing(Teacher(self.dense), self.data)

    def run(
        self, progress: Progress | None = None, **options: Any
    ) -> tuple[ExportedProgram, Distilled]:
        program, (found,) = self.distil(**options).run(self.state(self.small, progress))
        return program, found


def _like(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if not x.is_floating_point():
        return torch.randint(0, 5, (16, *x.shape[1:]), generator=generator)
    return torch.randn(16, *x.shape[1:], generator=generator)


class Two(nn.Module):
    """Two outputs, none of them classes, a shared weight, and a flag that isn't a float."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 12)
        self.a, self.b, self.c = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 3)
        self.b.weight = self.a.weight

    def forward(self, words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = torch.relu(self.b(torch.relu(self.a(self.words(words)))))
        return self.c(x), 100 * self.c(x).sum(2), words > 2


@pytest.fixture(scope="module")
def case() -> Case:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Conv2d(16, 8, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )
    return Case(net.eval(), (torch.randn(2, 3, 8, 8),))


def weights(program: ExportedProgram) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state(unlift(program)).items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def held_out_error(case: Case, program: ExportedProgram) -> float:
    """Worked out another way: mean squared error over variance, on the last eighth."""
    x = torch.cat([batch[0] for batch in case.data.batches[-1:]])
    with torch.no_grad():
        wanted, got = case.dense.module()(x), program.module()(x)
    return float((got - wanted).square().mean() / wanted.var(correction=0))


@pytest.mark.parametrize(
    "options",
    [{}, {"optimizer": "adamw"}, {"batch_training": False}, {"augment": ("flip", "crop", "mix")}],
)
def test_the_held_out_error_falls(case: Case, options: dict[str, Any]) -> None:
    dense, small = weights(case.dense), weights(case.small)
    program, found = case.run(**options)
    assert found.after < 0.9 * found.before
    assert found.steps == 30
    assert held_out_error(case, case.small) == pytest.approx(found.before, rel=1e-4)
    assert held_out_error(case, program) == pytest.approx(found.after, rel=1e-4)
    assert equal(weights(case.dense), dense)
    assert equal(weights(case.small), small)
    shapes = {name: tensor.shape for name, tensor in small.items()}
    assert {name: tensor.shape for name, tensor in weights(program).items()} == shapes


@pytest.mark.parametrize("rate", [1e3, math.inf])
def test_what_gets_worse_is_dropped(case: Case, rate: float) -> None:
    program, found = case.run(rate=rate)
    assert found.after <= found.before
    assert held_out_error(case, program) <= held_out_error(case, case.small) * (1 + 1e-6)


def test_nothing_to_gain_changes_nothing(case: Case) -> None:
    program, (found,) = case.distil().run(case.state(case.dense))
    assert program is case.dense
    assert (found.before, found.after) == (0, 0)


def test_the_seed_decides(case: Case) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = weights(case.run(augment=("mix",))[0])
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert equal(weights(case.run(augment=("mix",))[0]), first)
    assert not equal(weights(case.run(augment=("mix",), seed=1)[0]), first)


@pytest.mark.parametrize("after", [1, 5, 9])
def test_a_killed_run_goes_on(case: Case, tmp_path: Path, after: int) -> None:
    class KilledError(Exception):
        pass

    seen: list[str] = []

    def kill(news: str) -> None:
        seen.append(news)
        if len(seen) > after:
            raise KilledError

    checkpoint = tmp_path / ".out.distil"
    whole = case.run()
    with pytest.raises(KilledError):
        case.run(checkpoint=checkpoint, progress=kill)
    assert [path.name for path in tmp_path.iterdir()] == [".out.distil"]
    again: list[str] = []
    program, found = case.run(checkpoint=checkpoint, progress=again.append)
    assert equal(weights(program), weights(whole[0]))
    assert replace(found, seconds=0) == replace(whole[1], seconds=0)
    total: list[str] = []
    case.run(progress=total.append)
    assert len(again) == len(total) - after
    # Done is done; and another run doesn't begin in the middle.
    assert equal(weights(case.run(checkpoint=checkpoint)[0]), weights(whole[0]))
    for options in ({"seed": 1}, {"rate": 0.02}):
        other = case.run(checkpoint=checkpoint, **options)
        assert equal(weights(other[0]), weights(case.run(**options)[0]))


def test_a_run_at_another_default_rate_is_another_one(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / ".out.distil"
    before = case.run(rate=0, checkpoint=checkpoint)[0]
    monkeypatch.setattr(optimizers, "RATES", {**optimizers.RATES, "muon": 0.01})
    after = case.run(rate=0, checkpoint=checkpoint)[0]
    assert not equal(weights(after), weights(before))
    assert equal(weights(after), weights(case.run(rate=0)[0]))


def test_something_else_in_the_checkpoints_place(case: Case, tmp_path: Path) -> None:
    path = tmp_path / ".out.distil"
    path.write_bytes(b"something else")
    with pytest.raises(LoadError, match="can't be read"):
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


def test_outputs_that_are_no_classes() -> None:
    torch.manual_seed(0)
    case = Case(Two(), (torch.randint(0, 5, (2, 7)),))
    program, found = case.run()
    assert found.after < 0.9 * found.before
    assert unlift(program).get_parameter("a.weight") is unlift(program).get_parameter("b.weight")


def test_a_program_of_one_batch_size(case: Case) -> None:
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    dense = torch.export.export(net, (torch.randn(4, 6),))
    small = gp.compress(dense, flops=0.6).program
    data = gather([torch.randn(40, 6)], dense)
    _, (found,) = Distil(effort=Effort(steps=20)).run(State(small).knowing(Teacher(dense), data))
    assert found.after < found.before


def test_the_users_class_comes_back_trained() -> None:
    net = nets.SqueezeExcite()
    images = torch.randn(128, *net.inputs()[0].shape[1:])
    result = gp.compress(
        net, net.inputs(), flops=0.6, calibration=[images], distil=20, recover="none"
    )
    assert type(result.model) is nets.SqueezeExcite
    assert result.report.distilled["after"] < result.report.distilled["before"]
    with torch.no_grad():
        torch.testing.assert_close(result.model(images), result.program.module()(images))
    after_repair = gp.compress(net, net.inputs(), flops=0.6, calibration=[images], distil=5)
    report = after_repair.report
    assert report.recovery["method"] == "ls"
    assert (
        report.distilled["after"] <= report.distilled["before"] < result.report.distilled["before"]
    )
    with pytest.raises(OptionError, match="needs calibration data"):
        gp.compress(net, net.inputs(), flops=0.6, distil="5m")


def test_training_is_judged_on_data_that_the_repair_has_not_fitted() -> None:
    """Else its start looks better than it is, and training looks useless."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(40, 80), nn.ReLU(), nn.Linear(80, 60), nn.ReLU(), nn.Linear(60, 5)
    )
    inputs = (torch.randn(2, 40),)
    images = torch.randn(128, 40)
    data = gather([images], trace(net, inputs))
    _, (number,) = split(data)
    (aside,) = data.batches[number]
    alone = gp.compress(net, inputs, flops=0.5, calibration=data)
    before = gp.compress(net, inputs, flops=0.5, calibration=data, distil=1).report.distilled[
        "before"
    ]
    with torch.no_grad():
        wanted, got = net(aside), alone.model(aside)
        unseen = torch.randn(5000, 40)
        fresh = (alone.model(unseen) - net(unseen)).square().mean() / net(unseen).var(correction=0)
    seen = (got - wanted).square().mean() / wanted.var(correction=0)
    assert seen < 0.7 * fresh  # this repair has fitted what it would be judged by
    assert before > 0.8 * fresh


def test_units_of_the_error() -> None:
    wanted = [torch.randn(50, 3) * 7 + 2, torch.randn(50, 2, 4)]
    distance = Distance.of([
        moment_sums([x[:20] for x in wanted]),
        moment_sums([x[20:] for x in wanted]),
    ])
    assert float(distance.between(wanted, wanted)) == 0
    means = [x.mean().expand_as(x) for x in wanted]
    assert float(distance.between(means, wanted)) == pytest.approx(1, rel=1e-5)


def test_weights_move_an_error_from_value_to_value() -> None:
    wanted = [torch.randn(50, 3), torch.randn(50, 2, 4)]
    distance = Distance.of([moment_sums(wanted)])
    near, far = [wanted[0], wanted[1] + 1], [wanted[0] + 1, wanted[1]]
    weighted = distance.weighted([1, 3])
    for got, factor in ((near, 1.5), (far, 0.5)):
        expected = factor * float(distance.between(got, wanted))
        assert float(weighted.between(got, wanted)) == pytest.approx(expected)
    assert Distance(()).weighted([]) == Distance(())


def test_what_does_not_vary_has_no_error() -> None:
    """A dead layer or a constant output would drown all others."""
    wanted = [torch.zeros(50, 3), torch.full((50, 2), 0.1), torch.randn(50, 2)]
    distance = Distance.of([
        moment_sums([x[:20] for x in wanted]),
        moment_sums([x[20:] for x in wanted]),
    ])
    assert distance.scales[:2] == (math.inf, math.inf)
    got = [x + 1 for x in wanted]
    expected = 1 / float(wanted[2].double().var(correction=0)) / 3
    assert float(distance.between(got, wanted)) == pytest.approx(expected, rel=1e-4)


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


def test_options_that_cannot_be_meant(case: Case) -> None:
    with pytest.raises(OptionError, match="no augmentation 'blur'"):
        case.run(augment=("blur",))
    with pytest.raises(OptionError, match="no optimizer 'lion'"):
        case.distil(optimizer="lion")
    words = Case(Two(), (torch.randint(0, 5, (2, 7)),))
    with pytest.raises(OptionError, match="one input of samples of floats"):
        words.run(augment=("mix",))
    vectors = trace(nn.Linear(3, 4), (torch.randn(2, 3),))
    with pytest.raises(OptionError, match="images"):
        Distil(effort=Effort(steps=1), augment=("flip",)).run(
            State(vectors).knowing(Teacher(vectors), Calibration(()))
        )
