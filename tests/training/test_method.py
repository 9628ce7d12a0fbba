"""What methods share: the growth of pressure, the fading of channels, options out of range."""

from __future__ import annotations

import pytest
import torch

import graphprune as gp
from graphprune.errors import OptionError
from graphprune.training.channels import Channels
from graphprune.training.gradual import Gradual
from graphprune.training.group_lasso import GroupLasso
from graphprune.training.method import Method, Moment, fade, ramp
from graphprune.training.proximal import Proximal

from .loop import data, net

EXACT = 1e-12
"""Products of a few factors, float64."""


def moment(step: int, steps: int = 100) -> Moment:
    """Every second channel goes."""
    channels = Channels.of(gp.inspect(net(), (data()[0][:2],)))
    norms = channels.norms().detach()
    going = torch.arange(len(norms)) % 2 == 0
    scale = channels.means(norms, 2)
    return Moment(channels, going, torch.full_like(norms, 0.02), scale, norms, step, steps)


@pytest.mark.parametrize(("progress", "want"), [(0.0, 0.0), (0.2, 0.0), (0.4, 0.5), (0.9, 1.0)])
def test_pressure_grows_linearly(progress: float, want: float) -> None:
    assert ramp(progress, 0.2, 0.6) == pytest.approx(want)


def test_a_ramp_without_length_is_a_step() -> None:
    assert [ramp(p, 0.5, 0.5) for p in (0.4, 0.5)] == [0.0, 1.0]


def test_what_goes_fades_linearly_and_nothing_else_does() -> None:
    """Half of the way, half of the norm; the others lose only what they share with those that go."""
    now = moment(step=50)
    fade(now, 0.25, 0.75)
    left = now.channels.norms().detach() / now.reference
    assert (left[now.going] <= 0.5 + EXACT).all()
    assert (left[~now.going] > 0.55).all()


def test_fading_begins_late_and_ends_at_zero() -> None:
    early, late = moment(step=25), moment(step=75)
    for now in (early, late):
        fade(now, 0.25, 0.75)
    assert torch.equal(early.channels.norms(), early.reference)
    norms = late.channels.norms()
    assert (norms[late.going] == 0).all()
    assert (norms[~late.going] > 0).all()


def test_channels_that_are_lower_already_are_left_alone() -> None:
    now = moment(step=30)
    now.channels.scale(torch.where(now.going, 0.1, 1.0).to(now.cost))
    before = now.channels.norms().detach().clone()
    fade(now, 0.25, 0.75)
    assert torch.equal(now.channels.norms(), before)


def test_a_method_that_overrides_nothing_does_nothing() -> None:
    method = Method()
    assert method.plans(10) == {0: 1.0}
    assert method.penalty(moment(1)) is None
    method.after_step(moment(1))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (GroupLasso, {"strength": -1.0}),
        (Proximal, {"fixed": 1.5}),
        (Gradual, {"reached": 0.0}),
        (GroupLasso, {"faded": 0.2}),
    ],
)
def test_options_out_of_range_are_refused(kind: type[Method], options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(options))} = .* is out of range"):
        kind(**options)
