"""What is left of a graph without whole groups."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphprune.analysis.analyse import Analysis, analyse
from graphprune.analysis.emptied import Emptied
from graphprune.ir.trace import trace
from tests import nets
from tests.analysis.test_removable import Bottlenecks


def analysed(net: nn.Module) -> Analysis:
    return analyse(trace(net.eval(), (torch.randn(2, 3, 8, 8),)))


def without(analysis: Analysis, *names: str) -> Emptied:
    return analysis.without(n for n, group in enumerate(analysis.groups) if group.id in names)


def test_nothing_is_left_out_where_nothing_goes() -> None:
    found = analysed(Bottlenecks())
    left = found.without(())
    assert not left.trouble
    assert all(left.computed(node) for node in found.facts)


def test_a_layer_that_sums_over_nothing_is_constant_with_its_batchnorm() -> None:
    found = analysed(Bottlenecks())
    left = without(found, "blocks.0.0", "blocks.0.3")
    assert [node.name for node in left.closed if left.needed >= {node}] == []
    assert [node.name for node in left.stored if any(map(left.computed, node.users))] == [
        "batch_norm_2"
    ]
    assert not left.spread


def test_one_inner_group_makes_the_rest_of_the_branch_constant() -> None:
    found = analysed(Bottlenecks())
    left = without(found, "blocks.0.0")
    assert not left.trouble
    assert {n.name for n in left.constant} >= {"conv2d_2", "batch_norm_1", "relu_2", "conv2d_3"}
    assert found.without(left.gone, idle=True).gone > left.gone


def test_a_constant_is_spread_where_its_reader_needs_the_size() -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1)
            self.c, self.d = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 6, 1)

        def forward(self, x: Tensor) -> Tensor:
            return (self.c(self.b(torch.relu(self.a(x)))) + self.d(x)).mean((2, 3))

    found = analysed(Padded())
    left = without(found, "a")
    (spread,) = left.spread
    assert spread.name == "conv2d_1"
    batch = left.spread[spread][0]
    assert batch is not None
    assert batch.node.op == "placeholder"


def test_concatenations_lose_pieces() -> None:
    found = analysed(nets.ConcatWithInput())
    left = without(found, "a")
    assert not left.trouble
    assert not left.closed


def test_an_in_place_sum_onto_a_constant_reads_it_as_it_is() -> None:
    class InPlace(Bottlenecks):
        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.stem(x))
            for block in self.blocks:
                y = block(x)
                y += x
                x = torch.relu_(y)
            return self.head(x.mean((2, 3)))

    left = without(analysed(InPlace()), "blocks.0.0", "blocks.0.3")
    assert not left.trouble
    assert not left.spread
