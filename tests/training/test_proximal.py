"""The proximal step, held against the minimum that it stands for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from graphprune.training.proximal import Proximal

from .loop import Run, share
from .test_method import moment

EXACT = 1e-12
"""A step in closed form, float64."""


def amounts(method: Proximal, now: object) -> torch.Tensor:
    weights = torch.where(now.going, 1.0, method.others)  # type: ignore[attr-defined]
    return method.strength / (method.fixed * now.steps) * now.scale * weights  # type: ignore[attr-defined]


@pytest.mark.parametrize("strength", [2.0, 20.0])
def test_the_step_minimises_distance_and_norms(strength: float) -> None:
    """Norms of the disjoint blocks: of t |v| + (|v| - n)^2 / 2, the minimum is at n - t, or at zero."""
    method, now = Proximal(strength=strength), moment(step=10)
    before = now.channels.norms(disjoint=True).detach()
    method.after_step(now)
    want = (before - amounts(method, now)).clamp(min=0)
    found = now.channels.norms(disjoint=True).detach()
    torch.testing.assert_close(found, want, atol=EXACT, rtol=EXACT)


def test_what_is_smaller_than_the_step_is_exactly_zero() -> None:
    now = moment(step=10)
    Proximal(strength=200.0).after_step(now)
    assert (now.channels.norms(disjoint=True)[now.going] == 0).all()


def test_groups_that_stay_whole_are_not_shrunk() -> None:
    now = moment(step=10)
    cost = now.cost * (now.channels.group > 0)
    before = now.channels.norms(disjoint=True).detach()
    Proximal(strength=20.0).after_step(replace(now, cost=cost))
    after = now.channels.norms(disjoint=True).detach()
    assert torch.equal(after[:12], before[:12])
    assert (after[12:] < before[12:]).all()


def test_the_steps_take_the_norms_of_what_goes() -> None:
    """The rows that make a channel; those that read it belong to other blocks, and fade later."""
    alone = Proximal(strength=4.0, fixed=1.0, faded=1.0, updates=0)
    pressed, plain = Run.of(alone).go(), Run.of(None).go()
    assert pressed.sparsify is not None
    plan = pressed.sparsify.plan
    assert plan is not None
    assert share(pressed.model, plan, disjoint=True) < 0.1 * share(plain.model, plan, disjoint=True)


def test_the_envelope_takes_what_the_budget_has_no_room_for() -> None:
    method = Proximal(strength=0.2, envelope=True, fixed=1.0, faded=1.0, updates=0)
    now = moment(step=10)
    before = now.channels.norms(disjoint=True).detach()
    method.after_step(now)
    after = now.channels.norms(disjoint=True).detach()
    decayed = before / (1 + 0.2 / now.steps)
    assert (after <= decayed + EXACT).all()
    order = (before / now.scale / now.cost.sqrt()).argsort()
    left = (after / before)[order]
    assert (left.diff() >= -EXACT).all()  # the larger for its cost, the less it loses
    assert left[0] < left[-1]


def test_a_run_by_the_envelope_meets_its_budget() -> None:
    run = Run.of(Proximal(strength=0.5, envelope=True)).go()
    assert run.sparsify is not None
    report = run.sparsify.report()
    assert report.norm < EXACT
    assert all(budget.plan <= budget.bound for budget in report.budgets)
