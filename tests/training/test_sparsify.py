"""Pruning in the user's loop: budgets, proofs, loops of several kinds, and runs that are killed."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

import graphprune as gp
from graphprune.errors import MismatchError, OptionError
from graphprune.training.group_lasso import GroupLasso
from graphprune.training.methods import METHODS
from tests.sources import ROOT

from .loop import STEPS, Net, Run, data, net, share
from .over_processes import train

SAME = 1e-9
"""Of outputs before and after a cut of zeros, and of sums in another order over a training; float64."""

PRESSING = ["group-lasso", "mask-sparsity", "proximal"]


def sparsifier(run: Run) -> gp.Sparsify:
    assert run.sparsify is not None
    return run.sparsify


def plan(run: Run) -> gp.Plan:
    made = sparsifier(run).plan
    assert made is not None
    return made


@pytest.mark.parametrize("method", METHODS)
def test_a_run_ends_within_its_budget_with_the_class_and_the_optimiser(method: str) -> None:
    run = Run.of(method).go()
    run.model.eval()
    x, y = data()
    before = run.model(x)
    result = sparsifier(run).finish(run.optimizer)
    assert result.report.budget["met"]
    assert 0.4 < result.report.after.macs / result.report.before.macs <= 0.5
    assert type(result.model) is Net
    assert not result.model.training
    torch.testing.assert_close(result.model(x), before, atol=SAME, rtol=SAME)
    assert "channels were chosen while training" in " ".join(result.report.notes)
    assert not any("held" in note for note in result.report.notes)
    assert isinstance(result.optimizer, torch.optim.SGD)
    assert result.optimizer.param_groups[0]["params"] == list(result.model.parameters())
    F.cross_entropy(result.model(x), y).backward()
    result.optimizer.step()
    assert run.losses[-1] < 0.8 * run.losses[0]


@pytest.mark.parametrize("method", PRESSING)
def test_what_goes_has_lost_its_norm_by_the_end_and_not_in_plain_training(method: str) -> None:
    run, plain = Run.of(method).go(), Run.of(None).go()
    assert share(run.model, plan(run)) == 0
    assert share(plain.model, plan(run)) > 0.1


@pytest.mark.parametrize("method", ["group-lasso", "gradual"])
def test_several_budgets_hold_at_once(method: str) -> None:
    run = Run.of(method, params=0.35, memory=0.8).go()
    result = sparsifier(run).finish()
    assert {b["cost"] for b in result.report.budgets} == {"macs", "params", "memory"}
    assert all(b["met"] for b in result.report.budgets)
    assert result.optimizer is None


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_goes_on_to_the_same_weights(method: str) -> None:
    killed = 17
    whole = Run.of(method).go()
    run, file = Run.of(method).go(killed), io.BytesIO()
    states = [each.state_dict() for each in (sparsifier(run), run.model, run.optimizer)]
    torch.save(states, file)
    file.seek(0)
    again = Run.of(method, net(seed=5))
    parts = (sparsifier(again), again.model, again.optimizer)
    for part, state in zip(parts, torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    again.go(STEPS - killed)
    assert plan(again) == plan(whole)
    for a, b in zip(again.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert sparsifier(again).report() == sparsifier(whole).report()


def test_a_state_of_another_run_is_refused() -> None:
    state = sparsifier(Run.of("group-lasso").go(1)).state_dict()
    with pytest.raises(MismatchError, match="method"):
        sparsifier(Run.of("proximal")).load_state_dict(state)
    with pytest.raises(MismatchError, match="steps"):
        sparsifier(Run.of("group-lasso", steps=7)).load_state_dict(state)
    with pytest.raises(MismatchError, match="budget"):
        sparsifier(Run.of("group-lasso", flops=0.6)).load_state_dict(state)
    with pytest.raises(MismatchError, match="36 channels"):
        sparsifier(Run.of("group-lasso", Net(width=6).double())).load_state_dict(state)


@pytest.mark.parametrize("method", ["group-lasso", "gradual"])
def test_a_compiled_model_is_trained_alike(method: str) -> None:
    plain = Run.of(method).go()
    compiled = Run.of(method, torch.compile(net(), backend="eager")).go()
    assert plan(compiled) == plan(plain)
    result = sparsifier(compiled).finish(compiled.optimizer)
    assert type(result.model) is Net
    assert any("OptimizedModule" in note for note in result.report.notes)


@pytest.mark.parametrize("method", PRESSING)
def test_gradients_may_be_accumulated(method: str) -> None:
    """Two halves of a batch, each with half of the loss: one step, and one call of ``step``."""
    whole, halves = Run.of(method, net(norm=False)).go(), Run.of(method, net(norm=False))
    x, y = data()
    for _ in range(STEPS):
        halves.optimizer.zero_grad()
        for part in (slice(16), slice(16, None)):
            loss = F.cross_entropy(halves.model(x[part]), y[part]) + sparsifier(halves).penalty()
            (loss / 2).backward()
        halves.optimizer.step()
        sparsifier(halves).step()
    assert plan(halves) == plan(whole)
    for a, b in zip(halves.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=SAME, rtol=SAME)


class Checkpointed(Net):
    """Recomputes its branch in the backward pass while it is trained."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        if self.training:
            x = x + checkpoint(self.branch, x, use_reentrant=False)
        else:
            x = x + self.branch(x)
        return self.head(torch.relu(x).mean((2, 3)))

    def branch(self, x: Tensor) -> Tensor:
        return self.down(torch.relu(self.up(x)))


def test_gradients_may_be_checkpointed() -> None:
    model = Checkpointed().double()
    model.load_state_dict(net().state_dict())
    run, plain = Run.of("group-lasso", model).go(), Run.of("group-lasso").go()
    assert plan(run) == plan(plain)
    assert type(sparsifier(run).finish().model) is Checkpointed


@pytest.mark.parametrize("method", METHODS)
def test_mixed_precision_is_taken(method: str) -> None:
    model = net().float()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    x, y = data()[0].float(), data()[1]
    sparsify = gp.Sparsify(model, (x[:2],), flops=0.5, method=method, steps=20)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    for _ in range(20):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model(x), y) + sparsify.penalty()
        assert loss.dtype == torch.float32
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        sparsify.step()
    assert sparsify.report().norm == 0
    assert sparsify.finish(optimizer).report.budget["met"]


def test_averages_are_carried_by_the_result() -> None:
    run = Run.of("gradual")
    average = AveragedModel(run.model)
    run.go()
    average.update_parameters(run.model)
    result = sparsifier(run).finish(run.optimizer)
    result.carry(average).update_parameters(result.model)


def test_a_plan_may_be_given() -> None:
    given = gp.compress(net(), (data()[0][:2],), params=0.3, score="lamp").plan
    run = Run.of("mask-sparsity", plan=given).go()
    assert plan(run) == given
    result = sparsifier(run).finish()
    assert result.plan == given
    assert sparsifier(run).report().norm == 0


def test_what_is_protected_stays_whole_and_is_not_pressed() -> None:
    run = Run.of("group-lasso", flops=0.7, protect=("stem",)).go(10)
    (loss,) = torch.autograd.grad(sparsifier(run).penalty(), [run.model.norm.weight])  # type: ignore[union-attr]
    assert (loss == 0).all()
    run.go(STEPS - 10)
    assert sparsifier(run).finish().model.stem.out_channels == 12


def test_a_loop_may_be_longer_than_it_said() -> None:
    run = Run.of("group-lasso").go(STEPS + 5)
    assert sparsifier(run).penalty() == 0
    assert sparsifier(run).report().norm == 0


def test_the_plan_settles() -> None:
    run = Run.of(GroupLasso(updates=8, fixed=0.8, faded=0.9))
    assert not sparsifier(run).settled
    run.go()
    assert sparsifier(run).settled
    assert len(sparsifier(run).report().distances) == 8


def test_criteria_with_data_are_asked_again_with_the_live_weights() -> None:
    run = Run.of("gradual", calibration=[data()[0]], score="taylor").go()
    assert sparsifier(run).finish().report.budget["met"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"method": "l0"}, "no method 'l0'"),
        ({"flops": None}, "give a budget"),
        ({"score": "none"}, "no criterion 'none'"),
        ({"score": "taylor"}, "needs calibration data"),
        ({"protect": ("nothing",)}, "nothing matches"),
    ],
)
def test_options_without_meaning_are_refused(options: dict[str, Any], message: str) -> None:
    given = {"steps": 9, "flops": 0.5, **options}
    with pytest.raises(OptionError, match=message):
        gp.Sparsify(net(), (data()[0][:2],), **given)


class Ahead(torch.optim.Optimizer):
    """Wraps another optimiser, as those of sharpness-aware minimisation do."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        super().__init__(inner.param_groups, inner.defaults)
        self.inner = inner


def test_an_optimiser_that_cannot_follow_is_refused_before_the_training() -> None:
    model = net()
    wrapped = Ahead(torch.optim.SGD(model.parameters(), lr=0.1))
    given = {"steps": 9, "flops": 0.5, "optimizer": wrapped}
    with pytest.raises(OptionError, match="its attribute inner"):
        gp.Sparsify(model, (data()[0][:2],), method="progressive", **given)
    others = gp.Sparsify(model, (data()[0][:2],), method="proximal", **given)
    assert others.report().step == 0, "a method that shrinks no layer needs no more of it"


def test_states_that_cannot_follow_are_refused_after_the_first_step() -> None:
    model = net()
    optimizer = torch.optim.Adafactor(model.parameters(), lr=0.1)
    Run(model, None, optimizer).go(1)
    with pytest.raises(OptionError, match=r"'row_var' of stem\.weight"):
        Run.of("progressive", model, optimizer=optimizer)
    model = net()
    optimizer = torch.optim.Adafactor(model.parameters(), lr=0.1)
    run = Run.of("progressive", model, optimizer=optimizer, steps=400)
    run.optimizer = optimizer
    with pytest.raises(OptionError, match=r"'row_var' of stem\.weight"):
        run.go(1)


def test_a_plan_leaves_no_room_for_a_budget_or_plans_on_the_way() -> None:
    model, x = net(), (data()[0][:2],)
    given = gp.compress(model, x, flops=0.5).plan
    with pytest.raises(OptionError, match="not both"):
        gp.Sparsify(model, x, steps=9, plan=given, flops=0.5)
    with pytest.raises(OptionError, match="makes plans of its own"):
        gp.Sparsify(model, x, steps=9, plan=given, method="gradual")


def test_a_network_without_channels_is_refused_as_by_compress() -> None:
    with pytest.raises(gp.GraphpruneError):
        gp.Sparsify(nn.Linear(3, 4), (torch.randn(2, 3),), flops=0.5, steps=9)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["group-lasso", "gradual"])
def test_two_processes_come_to_the_result_of_one(tmp_path: Path, method: str) -> None:
    script = str(Path(__file__).with_name("over_processes.py"))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    subprocess.run(
        [*torchrun, "--nproc-per-node", "2", script, str(tmp_path), method],
        check=True,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    alone = train(method, 0, 1)
    assert (tmp_path / "0.json").read_text() == (tmp_path / "1.json").read_text()
    assert (tmp_path / "0.json").read_text() == alone.plan.to_json()
    states = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for name, value in alone.model.state_dict().items():
        assert torch.equal(states[0][name], states[1][name])
        torch.testing.assert_close(states[0][name], value, atol=SAME, rtol=SAME)
