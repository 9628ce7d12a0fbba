"""When plans are made, and when layers shrink."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from graphprune.training.gradual import Gradual
from graphprune.training.progressive import Progressive

from .loop import STEPS, Net, Run


def test_a_step_says_when_layers_have_shrunk() -> None:
    run, cuts = Run.of(Progressive(milestones=2, reached=0.5)), []
    assert run.sparsify is not None
    real = run.sparsify.step

    def step() -> bool:
        cuts.append(real())
        return cuts[-1]

    run.sparsify.step = step  # type: ignore[method-assign]
    run.go()
    assert [n + 1 for n, cut in enumerate(cuts) if cut] == [10, 20]


def test_plans_are_made_at_the_steps_of_the_method() -> None:
    run = Run.of(Gradual(updates=4, reached=0.8))
    assert run.sparsify is not None
    course, shares = run.sparsify._course, []
    for _ in range(STEPS):
        run.go(1)
        shares.append(course.share)
    assert len(set(shares) - {0.0}) == 4
    assert shares[31] == 1.0
    assert course.gone == 0


@pytest.mark.parametrize("options", [{"max_cut": 0.9}, {"optimizer": None}])
def test_reasons_not_to_shrink_are_known_before_the_first_step(options: dict[str, Any]) -> None:
    run = Run.of("progressive", **options)
    assert run.sparsify is not None
    assert run.sparsify.report().note
    run.go()
    assert isinstance(run.model, Net)
    assert run.model.up.out_channels == 24
    assert run.sparsify.report().norm == 0


def test_gone_channels_count_as_zero_ones() -> None:
    run = Run.of("progressive").go()
    assert run.sparsify is not None
    report = run.sparsify.report()
    left = run.model.stem.out_channels + run.model.up.out_channels  # type: ignore[operator]
    assert (report.channels, report.going, report.dead) == (36, 36 - left, 36 - left)
    assert torch.tensor(report.budgets[0].soft).item() == pytest.approx(report.budgets[0].plan)
