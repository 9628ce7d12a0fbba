"""Hooks of an optimiser do what the two calls in a loop do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import graphprune as gp

from .loop import STEPS, Net, Run, data, net


def sparsifier(run: Run) -> gp.Sparsify:
    assert run.sparsify is not None
    return run.sparsify


@pytest.mark.parametrize(
    ("method", "closure"), [("group-lasso", True), ("proximal", False), ("gradual", True)]
)
def test_a_loop_that_knows_nothing_comes_to_the_same_weights(method: str, closure: bool) -> None:
    plain = Run.of(method).go()
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    x, y = data()
    sparsify = gp.Sparsify(model, (x[:2],), flops=0.5, method=method, steps=STEPS)
    sparsify.follow(optimizer)

    def gradients() -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    for _ in range(STEPS):
        if closure:
            optimizer.step(gradients)
        else:
            gradients()
            optimizer.step()
    for a, b in zip(model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    result = sparsify.finish(optimizer)
    assert type(result.model) is Net
    assert result.report.budget["met"]
    assert result.optimizer is not None
    before = [p.clone() for p in result.model.parameters()]
    F.cross_entropy(result.model(x), y).backward()
    result.optimizer.step()  # nothing follows it any more
    step = sparsify.report().step
    assert step == STEPS
    assert any(
        not torch.equal(a, b) for a, b in zip(before, result.model.parameters(), strict=True)
    )


def test_steps_of_a_closure_that_is_called_often_count_once() -> None:
    model = net()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
    x, y = data()
    sparsify = gp.Sparsify(model, (x[:2],), flops=0.6, method="group-lasso", steps=6)
    sparsify.follow(optimizer)

    def gradients() -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    for _ in range(6):
        optimizer.step(gradients)
    assert sparsify.report().step == 6
    assert sparsify.report().norm < 1e-9


def pressed(scale: float) -> torch.Tensor:
    """The gradient right before a step of an optimiser that unscales gradients itself."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, fused=True)
    sparsify = gp.Sparsify(model, (data()[0][:2],), flops=0.5, method="group-lasso", steps=4)
    sparsify.follow(optimizer)
    optimizer.step()  # the pressure begins at zero
    optimizer.zero_grad()
    optimizer.grad_scale = torch.tensor(scale)  # type: ignore[attr-defined]
    optimizer.found_inf = torch.tensor(0.0)  # type: ignore[attr-defined]
    seen: list[torch.Tensor] = []
    optimizer.register_step_pre_hook(lambda *_: seen.append(model.up.weight.grad.clone()))  # type: ignore[union-attr]
    optimizer.step()
    return seen[0]


def test_gradients_are_scaled_where_the_others_are() -> None:
    once, more = pressed(1.0), pressed(8.0)
    torch.testing.assert_close(8 * once, more)
    assert bool(once.abs().sum() > 0)
