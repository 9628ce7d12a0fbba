"""Groups whose widths go together: by patterns, through each other, and in whole parts."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.analysis.analyse import Analysis, analyse
from graphprune.api import decide
from graphprune.errors import OptionError
from graphprune.ir.trace import trace
from graphprune.passes import Allocate, Decision
from graphprune.passes.allocate.width_ties import WidthTies
from graphprune.plan.budget import Budget


class Stack(nn.Module):
    """Two blocks with inner widths of 6, two of 4, around a stream that stays whole."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ModuleList(nn.Linear(5, width) for width in (6, 6, 4, 4))
        self.down = nn.ModuleList(nn.Linear(width, 5) for width in (6, 6, 4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for up, down in zip(self.up, self.down, strict=True):
            x = x + down(torch.relu(up(x)))
        return x


@pytest.fixture(scope="module")
def net() -> Stack:
    torch.manual_seed(0)
    return Stack().eval()


@pytest.fixture(scope="module")
def analysis(net: Stack) -> Analysis:
    return analyse(trace(net, (torch.randn(2, 5),)))


@pytest.mark.parametrize(
    ("patterns", "classes"),
    [
        ([["up.0", "up.1"]], [0, 0, 1, 2]),
        ([["up.[01]"], ["up.[23]"]], [0, 0, 1, 1]),
        ([["up.2"]], [0, 1, 2, 3]),
        ([["up.3", "up.2"], ["up.1", "up.0"]], [0, 0, 1, 1]),
        ([], [0, 1, 2, 3]),
    ],
)
def test_patterns_tie_groups(
    analysis: Analysis, patterns: list[list[str]], classes: list[int]
) -> None:
    ties = WidthTies(analysis.groups)
    for entry in patterns:
        ties = ties.matching(entry)
    assert ties.classes().classes == tuple(classes)
    assert ties.classes().steps == (1, 1, 1, 1)


def test_ties_go_on_through_groups_that_they_share(analysis: Analysis) -> None:
    ties = WidthTies(analysis.groups).tied([0, 0, 2, 3]).tied([0, 1, 1, 3])
    found = ties.classes()
    assert found.classes == (0, 0, 0, 1)
    assert found.steps == (3, 3, 2, 1)  # widths of 6, 6 and 4 shrink by halves


def test_whole_parts_are_cut(analysis: Analysis) -> None:
    assert WidthTies(analysis.groups).in_parts([3, 2, 4, 1]).classes().steps == (2, 3, 1, 4)
    tied = WidthTies(analysis.groups).in_parts([3, 6, 4, 4]).tied([0, 0, 2, 2]).classes()
    assert tied.steps == (2, 2, 1, 1)


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        (["up.*"], "up.0 has 6 channels and up.2 4"),
        (["up.1", "up.3"], "up.1 has 6 channels and up.3 4"),
        (["up.0", "down.*"], "no group matches the pattern 'down"),
        (["up.0.weight"], "no group matches"),
    ],
)
def test_what_cannot_be_tied_is_refused(analysis: Analysis, patterns: list[str], said: str) -> None:
    with pytest.raises(OptionError, match=said.replace("*", ".")) as caught:
        WidthTies(analysis.groups).matching(patterns)
    assert caught.value.options == ("uniform",)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_the_best_equal_widths_are_found(net: Stack, share: float) -> None:
    allocator = Allocate(budget=Budget("macs", share), uniform=(("up.[01]",), ("up.[23]",)))
    state = decide(net, (torch.randn(2, 5),), allocator=allocator)
    decision, analysis = state[Decision], state[Analysis]
    widths = [len(group.keep) for group in decision.plan.groups]
    assert widths[0] == widths[1]
    assert widths[2] == widths[3]
    curves, macs = list(decision.curves.values()), analysis.costs.macs
    bound = share * analysis.dense_macs

    def lost(a: int, b: int) -> float:
        return float(curves[0][a] + curves[1][a] + curves[2][b] + curves[3][b])

    best = min(
        lost(a, b)
        for a, b in itertools.product(range(1, 7), range(1, 5))
        if macs.at([a, a, b, b]) <= bound
    )
    assert macs.at(widths) <= bound
    assert decision.allocation.lower_bound is not None
    assert decision.allocation.lower_bound <= best + 1e-12
    assert lost(widths[0], widths[2]) <= 1.05 * best + 1e-12


def test_each_group_keeps_its_own_best_channels(net: Stack) -> None:
    result = gp.compress(net, (torch.randn(2, 5),), flops=0.5, uniform=["up.[01]"])
    first, second, *_ = result.plan.groups
    assert len(first.keep) == len(second.keep) < 6
    assert first.keep != second.keep
    with pytest.raises(OptionError, match="no group matches"):
        gp.compress(net, (torch.randn(2, 5),), flops=0.5, uniform=["block"])
