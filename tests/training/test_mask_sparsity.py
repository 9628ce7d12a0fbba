"""Pressure on what goes alone."""

from __future__ import annotations

import torch

from graphprune.training.mask_sparsity import MaskSparsity

from .loop import Run, share
from .test_method import moment

EXACT = 1e-12
"""Sums in another order, float64."""


def test_the_penalty_is_the_mean_norm_of_what_goes() -> None:
    now = moment(step=20)
    want = 0.5 * 3.0 * (now.channels.norms() / now.scale)[now.going].mean()
    torch.testing.assert_close(MaskSparsity(begins=0.4).penalty(now), want, atol=EXACT, rtol=EXACT)


def test_channels_that_stay_have_no_pressure() -> None:
    now = moment(step=40)
    place = next(p for p in now.channels.places if p.parameter.ndim == 1)
    found = torch.autograd.grad(MaskSparsity().penalty(now), [place.parameter])[0]
    assert (found[::2] != 0).any()
    assert (found[1::2] == 0).all()


def test_nothing_that_goes_is_nothing_to_press() -> None:
    now = moment(step=40)
    now.going.fill_(value=False)
    assert MaskSparsity().penalty(now) == 0


def test_the_penalty_alone_takes_the_norms_of_what_goes() -> None:
    alone = MaskSparsity(begins=1.0, faded=1.0)
    pressed, plain = Run.of(alone, steps=80).go(80), Run.of(None).go(80)
    assert pressed.sparsify is not None
    plan = pressed.sparsify.plan
    assert plan is not None
    assert share(pressed.model, plan) < 0.1 * share(plain.model, plan)
