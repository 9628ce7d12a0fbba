"""A term for the loss that wakes channels that never fire."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.errors import OptionError
from graphprune.training.activating import shifts

from .loop import STEPS, Run, data, net


def hushed(count: int = 5, seed: int = 0) -> nn.Module:
    """Channels whose ReLU is far below zero."""
    model = net(seed=seed)
    with torch.no_grad():
        model.up.bias[:count] = -3.0
    return model


def silence(run: Run) -> float:
    assert run.sparsify is not None
    found = run.sparsify.report().silence
    assert found is not None
    return found.now


@pytest.mark.parametrize("method", ["at-init", "group-lasso", "progressive"])
def test_silent_channels_fire_again_only_with_it(method: str) -> None:
    """The plan takes what is smallest by the norm, so that these stay."""
    with_it = Run.of(method, hushed(), watch=[data()[0]], activate=5.0, flops=0.8).go()
    without = Run.of(method, hushed(), watch=[data()[0]], flops=0.8).go()
    assert silence(with_it) < silence(without)


def test_the_term_is_the_mean_shift_of_the_silent_channels_that_stay() -> None:
    model = hushed()
    plan = gp.compress(model, (data()[0][:2],), flops=0.6).plan
    run = Run.of("at-init", model, plan=plan, watch=[data()[0]], activate=2.0)
    kept = [c for c in plan.keep["up"] if c < 5] if "up" in plan.keep else list(range(5))
    assert kept
    assert run.sparsify is not None
    assert run.sparsify.penalty().item() == pytest.approx(2.0 * 3.0)
    run.sparsify.penalty().backward()
    want = torch.zeros(24, dtype=torch.float64)
    want[kept] = -2.0 / len(kept)
    torch.testing.assert_close(model.up.bias.grad, want)


def test_the_biases_of_norms_count_as_those_of_layers_do() -> None:
    class Before(nn.Module):
        """A norm and an activation in front of each layer."""

        def __init__(self) -> None:
            super().__init__()
            self.a, self.n, self.b = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)
            self.head = nn.Linear(4, 2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.b(torch.relu(self.n(self.a(x))))).mean((2, 3)))

    model = Before()
    found = shifts(gp.inspect(model, (torch.randn(2, 3, 4, 4),)))
    assert {id(s.parameter) for s in found} == {
        id(p) for p in (model.a.bias, model.n.bias, model.b.bias)
    }
    model.n.bias.requires_grad_(False)
    assert len(shifts(gp.inspect(model, (torch.randn(2, 3, 4, 4),)))) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [({"activate": 1.0}, "inputs to watch"), ({"activate": -1.0, "watch": [0]}, "at least 0")],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    options = {**options, **({"watch": [data()[0]]} if "watch" in options else {})}
    with pytest.raises(OptionError, match=message):
        Run.of("gradual", **options)


@pytest.mark.parametrize(("method", "killed"), [("group-lasso", 13), ("progressive", 18)])
def test_a_run_that_was_killed_goes_on_to_the_same_weights(method: str, killed: int) -> None:
    how: dict[str, Any] = {"watch": [data()[0]], "activate": 1.0, "flops": 0.7}
    whole = Run.of(method, hushed(), **how).go()
    run = Run.of(method, hushed(), **how).go(killed)
    again = Run.of(method, hushed(seed=4), **how)
    assert run.sparsify is not None
    assert again.sparsify is not None
    again.sparsify.load_state_dict(run.sparsify.state_dict())
    again.model.load_state_dict(run.model.state_dict())
    again.optimizer.load_state_dict(run.optimizer.state_dict())
    again.go(STEPS - killed)
    for a, b in zip(again.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(a, b)
