"""The channels of the present network."""

from __future__ import annotations

import torch

from .loop import Run


def test_what_is_known_of_channels_follows_them_through_a_cut() -> None:
    run = Run.of("progressive").go(7)
    assert run.sparsify is not None
    course = run.sparsify._course
    before, square = course.live, course.live.memory["square"].clone()
    run.go(1)
    stay = ~before.going
    assert 0 < int(stay.sum()) < len(stay)
    assert course.live is not before
    assert sum(course.live.widths) == int(stay.sum())
    assert torch.equal(course.live.initial, before.initial[stay])
    assert torch.equal(course.live.memory["square"], square[stay])
    assert not course.live.going.any()


def test_removed_channels_are_those_that_a_plan_does_not_keep() -> None:
    run = Run.of("mask-sparsity")
    assert run.sparsify is not None
    live, plan = run.sparsify._course.live, run.sparsify.plan
    assert plan is not None
    going = live.removed_by(plan).split(live.widths)
    for group, gone in zip(plan.groups, going, strict=True):
        assert tuple(torch.nonzero(~gone).flatten().tolist()) == group.keep
    assert not live.removed_by(None).any()
