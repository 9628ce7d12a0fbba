"""Trial cuts of a class, by shapes and by values."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphprune.analysis.analyse import analyse
from graphprune.ir.trace import trace
from graphprune.rebuild.class_comparison import ClassComparison
from graphprune.rebuild.class_trials import ClassTrials


class Net(nn.Module):
    """One width is stated as a shape, and one in the values that are computed."""

    def __init__(self, *, branches: bool = False) -> None:
        super().__init__()
        self.branches = branches
        self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.branches and not torch.compiler.is_compiling():
            assert float(x.detach().abs().sum()) >= 0
        y = self.b(self.a(x).view(-1, 8))
        return self.c(y * (7.5 * len(self.b.weight) + 0.5))


def trials(net: nn.Module) -> tuple[ClassTrials, list[str]]:
    program = trace(net, (torch.randn(2, 4),))
    analysis = analyse(program)
    units = [(number,) for number in range(len(analysis.groups))]
    told: list[str] = []
    return ClassTrials(ClassComparison(net, analysis, program), units, told.append), told


def test_what_shapes_tell_and_what_only_values_tell() -> None:
    made, told = trials(Net())
    numbers = {group.id: number for number, group in enumerate(made.analysis.groups)}
    a, b = (numbers["a"],), (numbers["b"],)
    assert made.tells_shapes
    assert (made.fits([a]), made.fits([b]), made.fits([a, b])) == (False, True, False)
    assert (made.succeeds([a]), made.succeeds([b])) == (False, False)
    count = len(told)
    assert not made.succeeds([b])
    assert len(told) == count  # what was tried is known
    assert made.succeeds([])


@pytest.mark.parametrize("branches", [True, False])
def test_code_that_needs_values_is_tried_with_values(branches: bool) -> None:
    made, _ = trials(Net(branches=branches))
    numbers = {group.id: number for number, group in enumerate(made.analysis.groups)}
    assert made.tells_shapes  # on the meta device, or with values
    assert not made.fits([(numbers["a"],)])
    assert made.fits([(numbers["b"],)])
    assert not made.succeeds([(numbers["a"],)])
    made.begin()


class Picked(nn.Module):
    """Rows that a score picks: how many there are changes with the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.score = nn.Linear(4, 16), nn.Linear(16, 3), nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.a(x).relu()
        return self.b(x[self.score(x)[:, 0] > 0]), self.score(x)


def test_sizes_that_depend_on_values_tell_nothing_of_the_class() -> None:
    torch.manual_seed(0)
    net, inputs = Picked(), (torch.randn(64, 4),)
    program = trace(net, inputs)
    analysis = analyse(program)
    made = ClassTrials(ClassComparison(net, analysis, program), [(0,)], lambda _: None)
    assert made.fits([(0,)])
    assert made.succeeds([(0,)])
