"""Sums over channels: free where zero channels take no part in them, else held."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphprune.analysis.analyse import analyse
from graphprune.analysis.frozen import frozen
from graphprune.cut.cut import Cut
from graphprune.ir.trace import trace
from graphprune.verify.oracle import verify


class Summed(nn.Module):
    """``then`` makes one channel out of those of a convolution."""

    def __init__(self, then: Callable[[Tensor, Summed], Tensor]) -> None:
        super().__init__()
        self.a, self.n, self.b = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(1, 4, 1)
        self.one, self.each = nn.Parameter(torch.rand(1)), nn.Parameter(torch.rand(16, 1, 1))
        self.then = then

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.then(self.a(x), self))


def written(x: Tensor, value: Tensor) -> Tensor:
    x[:, :3] = value
    return x


QUIET: dict[str, Callable[[Tensor, Summed], Tensor]] = {
    "sum": lambda x, m: x.sum(1, True),
    "mean": lambda x, m: x.mean(1, True),
    "mean of all": lambda x, m: x[:, :1] * 0 + x.mean(),
    "activation": lambda x, m: F.gelu(x).mean(1, True),
    "batch norm": lambda x, m: torch.tanh(m.n(x)).sum(1, True),
    "1-norm": lambda x, m: torch.linalg.vector_norm(x, 1, 1, True),
    "largest": lambda x, m: torch.linalg.vector_norm(x, torch.inf, 1, True),
    "2-norm": lambda x, m: x.norm(dim=1, keepdim=True),
    "scaled": lambda x, m: (x * m.one * m.each * torch.sigmoid(x)).sum(1, True),
    "shifted by channel": lambda x, m: (x + m.each).mean(1, True),
    "divided": lambda x, m: (x / (1 + x.norm(dim=1, keepdim=True))).sum(1, True),
    "clamped": lambda x, m: x.clamp(-1, 1).sum(1, True),
    "reordered": lambda x, m: (
        torch.cat([x[:, 8:], x[:, :8].flip(1)], 1).unflatten(1, (4, 4)).sum((1, 2)).unsqueeze(1)
    ),
    "in place": lambda x, m: x.mul_(2).relu_().sum(1, True),
    "written": lambda x, m: written(x, m.n(x)[:, :3]).sum(1, True),
}

LOUD: dict[str, Callable[[Tensor, Summed], Tensor]] = {
    "sigmoid": lambda x, m: torch.sigmoid(x).sum(1, True),
    "exp": lambda x, m: x.exp().mean(1, True),
    "shifted": lambda x, m: (x + 1).mean(1, True),
    "shifted by one parameter": lambda x, m: (x + m.one).mean(1, True),
    "centred": lambda x, m: (x - x.mean(1, True)).pow(2).mean(1, True),
    "quotient": lambda x, m: (x / x.abs()).sum(1, True),
    "inverse": lambda x, m: (m.each / (x.square() + 1)).reciprocal().sum(1, True),
    "clamped": lambda x, m: x.clamp(1, 2).sum(1, True),
    "shifted in place": lambda x, m: x.add_(1).sum(1, True),
    "written": lambda x, m: written(x, m.one).sum(1, True),
    "smallest": lambda x, m: torch.linalg.vector_norm(x, -torch.inf, 1, True),
    "maximum": lambda x, m: x.amax(1, True),
    "variance": lambda x, m: x.var(1, keepdim=True),
}


@pytest.mark.parametrize("name", QUIET)
def test_sums_in_which_zero_channels_take_no_part_are_cut(name: str) -> None:
    torch.manual_seed(0)
    program = trace(Summed(QUIET[name]), (torch.randn(2, 3, 8, 8),))
    analysis = analyse(program)
    assert analysis.groups
    generator = np.random.default_rng(0)
    keep = {
        g.id: sorted(generator.permutation(g.width)[: max(g.width // 2, 1)].tolist())
        for g in analysis.groups
    }
    verify(Cut.keeping(analysis, keep))


@pytest.mark.parametrize("name", LOUD)
def test_sums_in_which_they_take_part_are_held(name: str) -> None:
    torch.manual_seed(0)
    analysis = analyse(trace(Summed(LOUD[name]), (torch.randn(2, 3, 8, 8),)))
    held = {axis for f in frozen(analysis) for axis in f.axes if f.reason.startswith("mix: ")}
    assert held == {"a.weight:0"}
