"""Sizes of traced values as plain numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn

from graphprune.ir import sizes
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace

aten = torch.ops.aten


class Masked(nn.Module):
    """A convolution, and a mask whose size depends on its values."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(x)
        return y.flatten(1), y[y > 0]


@pytest.fixture(scope="module")
def graph() -> fx.Graph:
    return unlift(trace(Masked(), (torch.randn(2, 3, 6, 6),))).graph


def call(graph: fx.Graph, target: object) -> fx.Node:
    return graph.find_nodes(op="call_function", target=target)[0]


def test_sizes_on_the_example_inputs(graph: fx.Graph) -> None:
    conv, masked = call(graph, aten.conv2d.default), call(graph, aten.index.Tensor)
    assert sizes.shape(conv) == (2, 4, 6, 6)
    assert sizes.size_hint(5) == 5
    (size,) = masked.meta["val"].shape
    assert sizes.size_hint(size, dict.fromkeys(sizes.open_symbols(size), 3)) == 3
    assert not sizes.open_symbols(conv.meta["val"].shape[0])
    found = [sizes.is_data_dependent(v) for v in (masked.meta["val"], [size], conv.meta["val"], 3)]
    assert found == [True, True, False, False]


def test_a_size_where_another_has_some_value(graph: fx.Graph) -> None:
    batch = graph.find_nodes(op="placeholder")[0].meta["val"].shape[0]
    assert sizes.size_where(batch, batch, 7, 2) == 7
    assert sizes.size_where(4 * batch + 1, batch, 7, 9) == 29
    (mask,) = graph.find_nodes(op="call_function", target=aten.index.Tensor)
    assert sizes.size_where(mask.meta["val"].shape[0], batch, 7, 5) == 5
