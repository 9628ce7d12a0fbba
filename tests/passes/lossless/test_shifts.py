"""What constants give to the results of layers, and what takes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import fx, nn

from graphprune.analysis.analyse import Analysis, analyse
from graphprune.ops import form_of
from graphprune.passes.lossless.places import Place, place_of
from graphprune.passes.lossless.relations import Relations
from graphprune.passes.lossless.shifts import Shifts

from .helpers import program


def reading(*reader: nn.Module) -> tuple[Analysis, fx.Node, Place]:
    """A layer that reads the six channels of another, and their place in what it reads."""
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), *reader)
    analysis = analyse(program(net, torch.randn(2, 3, 8, 8)))
    _, layer, *_ = (node for node in analysis.nodes if form_of(node) and form_of(node).is_layer)  # type: ignore[union-attr]
    value = layer.all_input_nodes[0]
    place = place_of(analysis, analysis.layouts[value], analysis.groups[0])  # type: ignore[arg-type]
    assert place is not None
    return analysis, layer, place


def constant(channel: int, value: float) -> Relations:
    gone = np.array([channel])
    return Relations(6, gone, np.zeros((1, 6)), np.array([[value]]))


def test_a_shift_is_the_column_times_the_constant() -> None:
    layer = nn.Conv2d(6, 4, 3)
    analysis, node, place = reading(layer)
    found = Shifts(analysis).of(node, place, constant(2, 3.0))
    assert found is not None
    expected = 3 * layer.weight.detach().double().sum((2, 3))[:, 2]
    torch.testing.assert_close(found, expected)


def test_with_padding_positions_differ() -> None:
    analysis, node, place = reading(nn.Conv2d(6, 4, 3, padding=1))
    shifts = Shifts(analysis)
    assert shifts.of(node, place, constant(2, 3.0)) is None
    assert shifts.of(node, place, constant(2, 0.0)) is not None


@pytest.mark.parametrize(
    ("reader", "taker"),
    [
        ([nn.Conv2d(6, 4, 3)], ("2.bias", 1.0)),
        ([nn.Conv2d(6, 4, 3, bias=False)], None),
        ([nn.Conv2d(6, 4, 3, bias=False), nn.BatchNorm2d(4)], ("3.running_mean", -1.0)),
    ],
    ids=["bias", "none", "norm"],
)
def test_a_bias_takes_a_shift_or_the_mean_of_the_norm_behind(
    reader: list[nn.Module], taker: tuple[str, float] | None
) -> None:
    analysis, node, _ = reading(*reader)
    assert Shifts(analysis).taker(node) == taker
