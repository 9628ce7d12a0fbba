"""Calls along an axis of dynamic size mean the same after a cut, at every size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.verify.oracle import verify

FAMILIES: dict[str, tuple[Callable[[Tensor], Tensor], ...]] = {
    "one position": (lambda x: x[:, 1], lambda x: x[:, -1], lambda x: x.unsqueeze(1)[:, -1, -2]),
    "some positions": (
        lambda x: x[:, 1:],
        lambda x: x[:, :-1],
        lambda x: x[:, ::2],
        lambda x: x.narrow(1, -2, 2),
        lambda x: x.split([1, x.shape[1] - 1], 1)[1],
        lambda x: x[:, torch.tensor([-1, 0])],
    ),
    "all positions": (
        lambda x: F.pad(x, (0, 0, -1, 2)),
        lambda x: x.std(-2),
        lambda x: x.repeat(1, 2, 1),
        lambda x: x.repeat_interleave(2, -2),
        lambda x: x.unfold(1, 2, 1).transpose(2, 3),
        lambda x: x.view(x.shape[0], x.shape[1] * 2, -1).flatten(0, 1),
        lambda x: x[:, :, None].expand(-1, -1, 3, -1),
    ),
}


class Along(nn.Module):
    """Calls between layers, along an axis of dynamic size; each has a head of its own."""

    def __init__(self, calls: Sequence[Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        self.calls, self.first = calls, nn.Linear(6, 8)
        self.heads = nn.ModuleList(nn.LazyLinear(3) for _ in calls)

    def forward(self, x: Tensor) -> list[Tensor]:
        y = torch.relu(self.first(x))
        return [head(call(y)) for head, call in zip(self.heads, self.calls, strict=True)]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_keeps_what_calls_mean_at_other_sizes(family: str) -> None:
    torch.manual_seed(0)
    x, net = torch.randn(2, 5, 6), Along(FAMILIES[family]).eval()
    net(x)
    shapes = {"x": {0: Dim("batch"), 1: Dim.AUTO}}
    analysis = analyse(torch.export.export(net, (x,), dynamic_shapes=shapes))
    keep = {group.id: range(max(1, group.width // 2)) for group in analysis.groups}
    assert keep
    verify(Cut.keeping(analysis, keep))
