"""Numbers of a model's code that a cut changes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.ir.trace import trace
from graphprune.rebuild.absorb_scales import absorb_scales
from graphprune.rebuild.changed_numbers import changed_floats, changes_of, is_number


class Halves(nn.Module):
    """Splits its channels by sizes, and views one part by the number of another."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 20)
        self.left, self.right = nn.Linear(8, 3), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.stem(x).relu().split([8, 12], dim=1)
        return self.left(a) + self.right(b.view(-1, 12))


def cut_of(net: nn.Module, width: int, *, allow_inexact: bool = False) -> Cut:
    """Cut the widest group of a network to its first channels."""
    analysis = analyse(trace(net, (torch.randn(2, 6),)), allow_inexact=allow_inexact)
    group = max(analysis.groups, key=lambda each: each.width)
    return Cut.keeping(analysis, {group.id: np.arange(width)})


def test_sizes_are_collected_for_the_module_whose_code_states_them() -> None:
    cut = cut_of(Halves(), 10)
    found = changes_of(cut, absorb_scales(cut), strict=False)
    assert found[""].lists[8, 12] == {(8, 10)}
    assert found[""].passed[12] == {10}
    assert found["right"].sizes[3] == {3}
    strict = changes_of(cut, absorb_scales(cut), strict=True)
    assert strict[""].passed[12] == {10}
    assert strict[""].passed[1] >= {1}  # the dimension to split along


def test_an_epsilon_that_counts_channels_changes() -> None:
    net = nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16, 0.25), nn.Linear(16, 3))
    cut = cut_of(net, 8, allow_inexact=True)
    assert set(changed_floats(cut)) == {(0.25, new) for _, new in changed_floats(cut)}
    exact = cut_of(nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)), 8)
    assert not list(changed_floats(exact))


def test_what_counts_as_a_number() -> None:
    assert [is_number(value) for value in (1, 0.5, True, "1", None)] == [True, True, *[False] * 3]
