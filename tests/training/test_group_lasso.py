"""Group lasso: the penalty by hand, and what it alone does to the norms."""

from __future__ import annotations

import pytest
import torch

from graphprune.training.group_lasso import GroupLasso

from .loop import Run, share
from .test_method import moment

EXACT = 1e-12
"""Sums in another order, float64."""


def test_the_penalty_is_the_sum_of_norms_by_cost() -> None:
    now, method = moment(step=30), GroupLasso(strength=4.0, fixed=0.6, others=0.25)
    norms = now.channels.norms() / now.scale
    want = 4.0 * 0.5 * 0.02 * (norms[now.going].sum() + 0.25 * norms[~now.going].sum())
    torch.testing.assert_close(method.penalty(now), want, atol=EXACT, rtol=EXACT)


def test_once_the_plan_stays_only_what_goes_is_pressed() -> None:
    now = moment(step=60)
    found = torch.autograd.grad(GroupLasso().penalty(now), [now.channels.places[0].parameter])[0]
    rows = found.reshape(len(found), -1).abs().sum(1)
    assert (rows[::2] > 0).all()
    assert (rows[1::2] == 0).all()


def test_the_penalty_alone_takes_the_norms_of_what_goes() -> None:
    """Without fading, and against a training that has no penalty: an order of magnitude."""
    alone = GroupLasso(strength=5.0, fixed=1.0, faded=1.0, updates=0)
    pressed, plain = Run.of(alone, steps=80).go(80), Run.of(None).go(80)
    assert pressed.sparsify is not None
    plan = pressed.sparsify.plan
    assert plan is not None
    assert share(pressed.model, plan) < 0.1 * share(plain.model, plan)


@pytest.mark.parametrize("step", [0, 1])
def test_there_is_no_pressure_before_the_first_step(step: int) -> None:
    assert bool(GroupLasso().penalty(moment(step)) > 0) == (step > 0)
