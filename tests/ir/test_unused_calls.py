"""Calls whose results nothing uses have no say in what is cut."""

from __future__ import annotations

import torch
from torch import nn

import graphprune as gp
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace


class Watched(nn.Module):
    """Two convolutions, with figures on the way that are computed and thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3)
        self.aux, self.head = nn.Conv2d(16, 5, 1), nn.Conv2d(16, 4, 1)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.a(x))
        values, _ = h.sort(dim=1)
        self.last = values[:, :3].mean()  # kept for a debugger
        logits = self.aux(h)
        h = torch.relu(self.b(h))
        h.argmax(1)
        logits.softmax(1)
        return self.head(h)


def test_figures_that_are_thrown_away_freeze_nothing() -> None:
    net, inputs = Watched().eval(), (torch.randn(2, 3, 8, 8),)
    assert {g.id: g.width for g in gp.inspect(net, inputs).groups} == {"a": 16, "b": 16}
    result = gp.compress(net, inputs, flops=0.5, score="random")
    assert isinstance(result.model, Watched)
    assert result.model.aux.in_channels == result.model.a.out_channels < 16


def test_effects_and_layers_stay() -> None:
    class Counting(Watched):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen.add_(1)
            return super().forward(x)

    names = {
        getattr(n.target, "_opname", "")
        for n in unlift(trace(Counting().eval(), (torch.randn(2, 3, 8, 8),))).graph.nodes
    }
    assert "add_" in names
    assert "softmax" in names  # of the layer aux, which goes on being called
    assert names.isdisjoint({"sort", "argmax"})
