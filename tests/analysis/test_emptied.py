"""A graph without some groups: which calls a cut still makes, and where constants have their channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphprune.analysis.analyse import analyse
from graphprune.analysis.emptied import Emptied
from graphprune.ir.trace import trace


class Branched(nn.Module):
    """Adds a branch of two convolutions to the result of one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 4, 1)
        self.a, self.b = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x) + torch.relu(self.b(self.a(x)))).mean((2, 3))


def test_what_a_cut_computes_and_what_it_stores() -> None:
    analysis = analyse(trace(Branched().eval(), (torch.randn(2, 3, 8, 8),)))
    assert all(map(Emptied(frozenset()).computed, analysis.nodes))
    left = analysis.without(n for n, group in enumerate(analysis.groups) if group.id == "a")
    assert not left.trouble
    (closed,) = left.closed
    (stored,) = left.stored
    assert (closed.name, stored.name) == ("conv2d_2", "relu")
    assert not left.computed(stored)
    assert [left.channel(node) for node in (closed, stored)] == [1, 1]
