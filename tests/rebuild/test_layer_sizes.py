"""Layers of torch state the sizes of their tensors after a cut."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.ir.trace import trace
from graphprune.rebuild.shrink_module import shrink_module


class Layers(nn.Module):
    """Layers of torch's own, which keep their sizes beside their tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.first = nn.Embedding(7, 8), nn.Linear(8, 12)
        self.norm, self.slope, self.last = nn.BatchNorm1d(12), nn.PReLU(12), nn.Linear(12, 3)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.last(self.slope(self.norm(self.first(self.words(words)))))


def test_layers_of_torch_know_their_new_sizes() -> None:
    net, words = Layers().eval(), torch.randint(0, 7, (3,))
    analysis = analyse(trace(net, (words,)))
    widths = {group.id: group.width for group in analysis.groups}
    assert sorted(widths.values()) == [8, 12]
    small: Any = shrink_module(
        net, Cut.keeping(analysis, {name: range(width // 4) for name, width in widths.items()})
    )
    assert (small.words.num_embeddings, small.words.embedding_dim) == (7, 2)
    assert (small.first.in_features, small.first.out_features) == (2, 3)
    assert (small.norm.num_features, small.slope.num_parameters) == (3, 3)
    assert (small.last.in_features, small.last.out_features) == (3, 3)
    assert (net.first.out_features, net.norm.num_features) == (12, 12)


class Cells(nn.Module):
    """Layers whose forward reads none of the sizes that they keep."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.start = nn.EmbeddingBag(7, 8), nn.Linear(8, 12)
        self.cell, self.pair, self.last = (
            nn.GRUCell(8, 12),
            nn.Bilinear(12, 8, 16),
            nn.Linear(16, 3),
        )

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        x = self.words(words)
        return self.last(self.pair(self.cell(x, self.start(x)), x))


def test_layers_that_need_no_sizes_know_them_too() -> None:
    net, words = Cells().eval(), torch.randint(0, 7, (3, 4))
    analysis = analyse(trace(net, (words,)))
    widths = {group.id: group.width for group in analysis.groups}
    assert sorted(widths.values()) == [8, 12, 16]
    small: Any = shrink_module(
        net, Cut.keeping(analysis, {name: range(width // 4) for name, width in widths.items()})
    )
    assert (small.words.num_embeddings, small.words.embedding_dim) == (7, 2)
    assert (small.cell.input_size, small.cell.hidden_size) == (2, 3)
    assert (small.pair.in1_features, small.pair.in2_features, small.pair.out_features) == (3, 2, 4)
    assert small(words).shape == (3, 3)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_convolution_knows_its_new_channels_and_groups(*, transposed: bool) -> None:
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    net = nn.Sequential(nn.Conv2d(3, 8, 1), kind(8, 8, 3, groups=8), nn.Conv2d(8, 2, 1))
    analysis = analyse(trace(net, (torch.randn(2, 3, 8, 8),)))
    (group,) = analysis.groups
    small: Any = shrink_module(net, Cut.keeping(analysis, {group.id: [0, 3, 5]}))
    assert (small[1].in_channels, small[1].out_channels, small[1].groups) == (3, 3, 3)
    assert torch.equal(small[1].weight, net[1].weight[[0, 3, 5]])
