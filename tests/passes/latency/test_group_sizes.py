"""Groups of a convolution, and outputs of each, at any widths."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from graphprune.analysis.analyse import Analysis, analyse
from graphprune.axes.labels import FROZEN
from graphprune.cut.cut import Cut
from graphprune.ir.nodes import bind
from graphprune.ir.trace import trace
from graphprune.passes.latency.fusion import is_convolution
from graphprune.passes.latency.group_sizes import group_sizes


def analysed(inputs: int, outputs: int, groups: int, *, first: int = 1) -> Analysis:
    net = nn.Sequential(
        nn.Conv2d(3, inputs, 1, groups=first),
        nn.Conv2d(inputs, outputs, 3, groups=groups),
        nn.ReLU(),
        nn.Conv2d(outputs, 4, 1),
    )
    return analyse(trace(net.eval(), (torch.randn(2, 3, 6, 6),)))


@pytest.mark.parametrize(
    ("inputs", "outputs", "groups"), [(8, 8, 8), (8, 16, 8), (8, 8, 2), (8, 24, 4), (8, 4, 4)]
)
def test_they_are_those_of_the_cut_network(inputs: int, outputs: int, groups: int) -> None:
    analysis = analysed(inputs, outputs, groups)
    found = group_sizes(analysis, analysis.axes["1.weight"][0], groups)
    assert found is not None
    generator = np.random.default_rng(0)
    for _ in range(5):
        widths = [int(generator.integers(1, g.width + 1)) for g in analysis.groups]
        cut = Cut.keeping(
            analysis, {g.id: range(w) for g, w in zip(analysis.groups, widths, strict=True)}
        )
        _, layer, _ = filter(is_convolution, cut.module.graph.nodes)
        number = bind(layer)["groups"]
        each = cut.tensors.get("1.weight", analysis.tensors["1.weight"]).shape[0] // number
        assert [p.at(widths) for p in found] == pytest.approx([number, each])


def test_groups_that_can_be_unlike_have_no_sizes() -> None:
    analysis = analysed(8, 8, 2)
    axis = analysis.labels.resolve(analysis.axes["1.weight"][0]).copy()
    axis[0] = FROZEN
    assert group_sizes(analysis, axis, 2) is None
