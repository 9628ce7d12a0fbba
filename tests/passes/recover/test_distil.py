"""Distillation: lower error or nothing, seeded, resumable, on any kind of output."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

import graphprune as gp
from graphprune.data.calibration import Calibration, gather
from graphprune.errors import OptionError
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from graphprune.passes import Distil, Effort
from graphprune.passes.recover.samples import split
from graphprune.passes.recover.teacher_student import Teacher
from graphprune.pipeline import State
from tests import nets
from tests.passes.recover.helpers import Case, Two, equal, weights


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


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_sixteen_bit_models_with_a_checkpoint(kind: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 5)).to(kind)
    data = torch.randn(40, 6).to(kind)
    options: dict[str, Any] = {"flops": 0.5, "calibration": data.split(8), "distil": 20}
    found = [
        gp.compress(net, data[:2], checkpoint=file, **options)
        for file in (None, tmp_path / "checkpoint")
    ]
    assert all(map(torch.equal, *(weights(each.program).values() for each in found)))
