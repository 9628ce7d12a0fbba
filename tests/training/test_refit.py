"""Layers that are refitted between the cuts of a training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.data.calibration import gather
from graphprune.passes.observe import Observations
from graphprune.passes.recover.batchnorm import SEEN
from graphprune.training.gradual import Gradual
from graphprune.training.refit import refitted

from .loop import Run, data, net


def observed(model: nn.Module, samples: int = 256) -> Observations:
    analysis = gp.inspect(model, (data()[0][:2],))
    assert analysis.program is not None
    return Observations(analysis, gather([data(samples)[0]], analysis.program))


def held_at_zero(model: nn.Module, plan: gp.Plan, tensors: dict[str, Any]) -> nn.Module:
    """What is left, by the tensors in dense shapes."""
    model.load_state_dict({**model.state_dict(), **tensors})
    return gp.apply(plan, model, (data()[0][:2],))


def test_what_stays_computes_more_nearly_what_all_channels_did() -> None:
    model, x = net().eval(), data(256)[0]
    plan = gp.compress(model, (x[:2],), flops=0.5).plan
    want = model(x).detach()
    alone = gp.apply(plan, model, (x[:2],))
    new = refitted(observed(model), plan)
    assert {"down.weight", "head.weight"} <= new.keys()
    small = held_at_zero(model, plan, new)
    assert (small(x) - want).square().mean() < 0.5 * (alone(x) - want).square().mean()


def test_in_training_mode_it_computes_the_same() -> None:
    """A batch that is all of the data has the statistics that BatchNorm was given."""
    model = net().train()
    for _ in range(30):
        model(data(256)[0] * 2 + 1)
    x = data(256)[0]
    plan = gp.compress(model.eval(), (x[:2],), flops=0.5).plan
    seen = observed(model, SEEN)  # few enough that none is left out of the statistics
    small = held_at_zero(model, plan, refitted(seen, plan))
    fitted = torch.cat([seen.batches[b][0] for b in seen.fitted])
    with torch.no_grad():
        want = small.eval()(fitted)
        got = small.train()(fitted)
    # the variance of a batch is over n values, the running one over n - 1
    torch.testing.assert_close(got, want, atol=1e-3, rtol=1e-3)


def test_parameters_that_are_not_trained_stay() -> None:
    model = net()
    model.down.weight.requires_grad_(False)
    plan = gp.compress(model.eval(), (data()[0][:2],), flops=0.5).plan
    assert refitted(observed(model), plan) == {}


def test_where_no_channel_is_missed_no_output_changes() -> None:
    """They are zero already."""
    model, x = net().eval(), data(256)[0]
    plan = gp.compress(model, (x[:2],), flops=0.5).plan
    Run.of("at-init", model, plan=plan).go(1)
    want = model.eval()(x).detach()
    small = held_at_zero(model, plan, refitted(observed(model), plan))
    torch.testing.assert_close(small(x), want)


def test_gradual_refits_where_there_is_data_and_it_is_asked_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[gp.Plan] = []

    def noted(seen: Observations, plan: gp.Plan) -> dict[str, torch.Tensor]:
        calls.append(plan)
        return refitted(seen, plan)

    monkeypatch.setattr("graphprune.training.planner.refitted", noted)
    data_of = {"calibration": [data(64)[0]], "score": "l2"}
    Run.of(Gradual(updates=3, repair=False), **data_of).go()
    Run.of(Gradual(updates=3)).go()
    assert not calls
    run = Run.of(Gradual(updates=3), **data_of).go()
    assert len(calls) == 3
    assert run.sparsify is not None
    assert calls[-1] == run.sparsify.plan
    assert run.sparsify.finish(run.optimizer).report.budget["met"]
    assert len(calls) == 3


def test_a_refit_at_a_cut_keeps_the_loss_lower() -> None:
    """Right after half of the channels went at once."""

    def after(repair: bool) -> float:
        method = Gradual(updates=1, reached=0.5, repair=repair)
        run = Run.of(method, calibration=[data(64)[0]], score="l2").go(21)
        return run.losses[-1]

    assert after(True) < after(False)


@pytest.mark.parametrize("method", ["group-lasso", "proximal", "progressive"])
def test_methods_that_let_channels_fade_refit_nothing(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(seen: Observations, plan: gp.Plan) -> dict[str, torch.Tensor]:
        raise AssertionError

    monkeypatch.setattr("graphprune.training.planner.refitted", never)
    Run.of(method, calibration=[data(64)[0]], score="l2").go(25)
