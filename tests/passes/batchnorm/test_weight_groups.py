"""Weights by group: one form for all kinds of layers, and back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from graphprune.ops import form_of
from graphprune.passes.batchnorm.weight_groups import (
    by_group,
    from_groups,
    grouped,
    is_transposed,
)

LAYERS = {
    "plain": (nn.Conv2d(4, 6, 3), (1, 6, 4, 9)),
    "groups": (nn.Conv2d(4, 6, 3, groups=2), (2, 3, 2, 9)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, groups=2), (2, 3, 2, 9)),
    "linear": (nn.Linear(8, 6), (1, 6, 8, 1)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_every_kind_has_the_same_axes_and_comes_back(kind: str) -> None:
    layer, shape = LAYERS[kind]
    graph = unlift(trace(layer, (torch.randn(2, 4, 8, 8),))).graph
    (node,) = (n for n in graph.nodes if n.op == "call_function" and form_of(n))
    wide = grouped(node, layer.weight.detach())
    assert wide.shape == shape
    back = from_groups(wide, layer.weight.shape, transposed=is_transposed(node))
    assert torch.equal(back, layer.weight)
    assert is_transposed(node) == (kind == "transposed")


def test_the_outputs_of_a_group_are_those_of_its_weight() -> None:
    weight = torch.arange(2 * 3 * 4.0).reshape(2, 3, 4)
    assert torch.equal(by_group(weight, 2, transposed=False)[1, 0, :, 0], weight[1, :, 0])
    assert torch.equal(by_group(weight, 2, transposed=True)[1, :, 0, 0], weight[1, :, 0])
