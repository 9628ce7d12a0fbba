"""Gradual pruning: the schedule, and channels that are held at zero."""

from __future__ import annotations

import pytest
import torch

from graphprune.training.gradual import Gradual

from .loop import Run
from .test_method import moment


def test_the_schedule_is_cubic() -> None:
    plans = Gradual(reached=0.5, updates=2).plans(100)
    assert plans == {25: pytest.approx(1 - 0.5**3), 50: 1.0}


def test_what_goes_is_zero_after_each_step() -> None:
    now = moment(step=1)
    Gradual().after_step(now)
    assert (now.channels.norms()[now.going] == 0).all()
    assert (now.channels.norms()[~now.going] > 0).all()


def test_the_cost_falls_plan_by_plan_and_nothing_comes_back() -> None:
    run = Run.of("gradual")
    assert run.sparsify is not None
    costs, dead = [], []
    for _ in range(40):
        run.go(1)
        report = run.sparsify.report()
        costs.append(report.budgets[0].plan)
        dead.append(report.dead)
        assert report.norm == 0
    assert costs == sorted(costs, reverse=True)
    assert dead == sorted(dead)
    assert len(set(costs)) > 5
    assert costs[0] > 0.75 > 0.5 >= costs[-1]


def test_momentum_does_not_bring_a_channel_back() -> None:
    run = Run.of("gradual").go(39)
    assert run.sparsify is not None
    assert any(
        bool((state["momentum_buffer"] != 0).any()) for state in run.optimizer.state.values()
    )
    run.go(1)
    assert run.sparsify.report().norm == torch.tensor(0.0)
