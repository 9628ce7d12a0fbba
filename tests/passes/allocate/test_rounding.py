"""Widths that run fast: multiples of 16, 8 or 4, where that costs little."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.ir.trace import trace
from graphprune.passes import CRITERIA, Allocate, Analyse, Decision, Score
from graphprune.passes.allocate.roofline import Roofline
from graphprune.passes.allocate.rounding import (
    FAST,
    PRICE_OF_WHOLE_BLOCKS,
    SLACK,
    SLOWER,
    Multiples,
    Rounding,
    rounded,
)
from graphprune.passes.score import additive
from graphprune.pipeline import State


@pytest.mark.parametrize(
    ("multiples", "found"),
    [
        (Multiples(16, 1), {4: 4, 3: 1, 12: 8, 16: 16, 24: 16, 2048: 16}),
        (Multiples(16, 4), {8: 1, 15: 1, 16: 4, 31: 4, 32: 8, 63: 8, 64: 16}),
        (Multiples(4, 4), {15: 1, 16: 4, 640: 4}),
    ],
)
def test_narrow_groups_have_smaller_multiples(
    multiples: Multiples, found: Mapping[int, int]
) -> None:
    assert {width: multiples.within(width) for width in found} == found


@pytest.mark.parametrize(
    ("width", "run", "multiple"),
    [
        (12, 64, 1),  # heads
        (6, 8, 2),  # groups of 8 channels
        (13, 8, 2),
        (3, 4, 2),  # 16 rows are more than there are
        (5, 3, 4),
        (40, 24, 2),
        (64, 1, 16),
    ],
)
def test_a_channel_of_several_rows_counts_as_many(width: int, run: int, multiple: int) -> None:
    assert Multiples(16, 1).within(width, run) == multiple


def test_the_dense_width_always_stays() -> None:
    assert rounded(np.arange(1, 38), 37, Multiples(8, 4)).tolist() == [8, 16, 24, 32, 37]
    assert rounded(np.arange(1, 38), 37, 16).tolist() == [16, 32, 37]


def test_what_takes_more_than_a_width_to_know_leaves_all() -> None:
    widths = np.arange(1, 21)
    for to in (1, "fast", "auto"):
        assert rounded(widths, 20, to).tolist() == widths.tolist()
    assert rounded(np.arange(9, 21), 20, 8).tolist() == [16, 20]


def scored(*widths: int) -> State:
    """Layers of some widths, whose channels have unlike norms."""
    torch.manual_seed(0)
    sizes = (8, *widths, 4)
    layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    with torch.no_grad():
        for layer in layers:
            layer.weight *= torch.exp(0.7 * torch.randn(layer.out_features, 1))
    net = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU()))).eval()
    return gp.Pipeline((Analyse(), Score(CRITERIA["l2"]))).run(trace(net, (torch.randn(2, 8),)))


@cache
def wide() -> State:
    return scored(256, 512, 256)


def kept(decision: Decision) -> list[int]:
    return [len(group.keep) for group in decision.plan.groups]


def test_wide_layers_keep_multiples_of_16() -> None:
    free, fast = (
        Allocate(budget=gp.Budget.flops(0.5), round_to=to).run(wide()) for to in (1, "fast")
    )
    assert any(width % 16 for width in kept(free))
    assert all(width % 16 == 0 for width in kept(fast))
    assert fast.allocation.distortion <= PRICE_OF_WHOLE_BLOCKS * free.allocation.distortion
    assert fast.budgets[0].met
    assert fast.budgets[0].reached >= fast.budgets[0].bound - SLACK * fast.budgets[0].dense
    assert any("multiples of 16, which run fast" in note for note in fast.notes)


def test_layers_too_narrow_for_a_choice_keep_any_widths() -> None:
    state = scored(12, 10)
    free, fast = (
        Allocate(budget=gp.Budget.flops(0.5), round_to=to).run(state) for to in (1, "fast")
    )
    assert kept(fast) == kept(free)
    assert not any("run fast" in note for note in fast.notes)


def test_channels_that_matter_are_not_rounded_away() -> None:
    """Whatever is rounded here, channels that matter as much as all others have to go."""
    state = scored(64, 64)
    matter = {g.id: n for g, n in zip(state[Analysis].groups, (33, 58), strict=True)}
    values = {name: np.where(np.arange(64) < n, 1.0, 1e-6) for name, n in matter.items()}
    fast = Allocate(budget=gp.Budget.flops(0.5), round_to="fast").run(
        state.knowing(additive(values))
    )
    assert kept(fast) == [33, 58]


def test_a_budget_that_cuts_nothing_rounds_nothing() -> None:
    decision = Allocate(budget=gp.Budget.flops(1.0), round_to="fast").run(wide())
    assert kept(decision) == [256, 512, 256]
    assert not decision.notes


def test_multiples_that_are_asked_for_are_kept_to() -> None:
    decision = Allocate(budget=gp.Budget.flops(0.5), round_to=64).run(wide())
    assert all(width % 64 == 0 for width in kept(decision))


def gated() -> State:
    """Blocks that write much and multiply little, then layers that do the contrary; channels have unlike norms."""
    torch.manual_seed(0)

    def block() -> list[nn.Module]:
        deep = nn.Conv2d(128, 128, 3, padding=1, groups=128)
        return [nn.Conv2d(32, 128, 1), nn.SiLU(), deep, nn.SiLU(), nn.Conv2d(128, 32, 1)]

    tail = (nn.AvgPool2d(5), nn.Conv2d(32, 512, 3, padding=1), nn.ReLU(), nn.Conv2d(512, 512, 3))
    net = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), *block(), *block(), *tail).eval()
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, nn.Conv2d):
                layer.weight *= torch.exp(0.7 * torch.randn(layer.out_channels, 1, 1, 1))
    program = trace(net, (torch.randn(1, 3, 32, 32),))
    return gp.Pipeline((Analyse(), Score(CRITERIA["l2"]))).run(program)


def test_a_plan_that_would_be_slower_than_its_flops_promise_writes_less() -> None:
    state = gated()
    roofline = Roofline.of(state[Analysis])
    plain = Allocate(budget=gp.Budget.flops(0.5), round_to=Multiples(16, 1)).run(state)
    fast = Allocate(budget=gp.Budget.flops(0.5), round_to="fast").run(state)
    free = Allocate(budget=gp.Budget.flops(0.5)).run(state)
    assert roofline.falls_short(kept(plain), SLOWER)
    assert roofline.time(kept(fast)) < roofline.time(kept(plain))
    assert fast.allocation.distortion <= PRICE_OF_WHOLE_BLOCKS * free.allocation.distortion
    assert fast.budgets[0].met


def test_only_a_budget_of_flops_promises_time() -> None:
    state = gated()

    def plan(to: Rounding) -> list[int]:
        return kept(Allocate(budget=gp.Budget("params", 0.5), round_to=to).run(state))

    assert plan("fast") in [plan(to) for to in (*FAST, 1)]
