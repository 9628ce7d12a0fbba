"""A group's channels are found in a value, and put back."""

from __future__ import annotations

import torch
from torch import nn

from graphprune.analysis.analyse import analyse
from graphprune.passes.lossless.places import place_of

from .helpers import program


def test_places_are_unambiguous() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 1))
    analysis = analyse(program(net, torch.randn(1, 3, 8, 8)))
    group = analysis.groups[0]
    conv = next(n for n in analysis.module.graph.nodes if str(n.target) == "aten.conv2d.default")
    layout = analysis.layouts[conv]
    assert isinstance(layout, tuple)
    place = place_of(analysis, layout, group)
    assert place is not None
    assert (place.dim, place.rows.tolist()) == (1, [[i] for i in range(6)])
    value = torch.randn(2, 6, 3, 3)
    torch.testing.assert_close(place.put(value, place.channels(value)), value)
    assert place_of(analysis, (layout[1], layout[1]), group) is None
