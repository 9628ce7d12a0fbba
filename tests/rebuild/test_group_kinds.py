"""Groups in the same code are of one kind."""

from __future__ import annotations

import torch
from torch import nn

from graphprune.analysis.analyse import analyse
from graphprune.ir.trace import trace
from graphprune.rebuild.group_kinds import unit_kinds


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 12), nn.Linear(12, 12), nn.Linear(12, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.a(x).relu()
        y = self.b(y).relu()
        return x + self.c(y)


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def test_the_same_places_of_blocks_are_one_kind() -> None:
    analysis = analyse(trace(Blocks(), (torch.randn(2, 8),)))
    units = [(number,) for number in range(len(analysis.groups))]
    kinds = unit_kinds(analysis, units)
    named = [[analysis.groups[number].id for (number,) in kind] for kind in kinds]
    assert [f"blocks.{i}.a" for i in range(3)] in named
    assert [f"blocks.{i}.b" for i in range(3)] in named
    assert sorted(unit for kind in kinds for unit in kind) == units


def test_units_of_several_groups_are_of_the_kind_of_all() -> None:
    analysis = analyse(trace(Blocks(), (torch.randn(2, 8),)))
    numbers = {group.id: number for number, group in enumerate(analysis.groups)}
    both = [(numbers[f"blocks.{i}.a"], numbers[f"blocks.{i}.b"]) for i in range(3)]
    assert unit_kinds(analysis, both) == [both]
    alone = [(number,) for unit in both for number in unit]
    assert len(unit_kinds(analysis, alone)) == 2
