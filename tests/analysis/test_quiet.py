"""Values that are zero where the rows of their channels are, and those that aren't."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphprune.analysis.propagate import Propagation
from graphprune.ir.data_sizes import DataSizes
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace


class Between(nn.Module):
    """Does something to the channels between two layers."""

    def __init__(self, part: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.part = nn.Linear(4, 8, bias=False), nn.Linear(8, 3), part

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.part(self.a(x)))


def _filled(x: Tensor) -> Tensor:
    return torch.empty_like(x).copy_(x)


def _overwritten(x: Tensor) -> Tensor:
    y = x * 1
    y[:, :2].add_(1)
    return y


@pytest.mark.parametrize(
    ("part", "quiet"),
    [
        (torch.relu, True),
        (torch.cos, False),
        (lambda x: torch.relu(x) * 2, True),
        (lambda x: x + 1, False),
        (lambda x: x.multiply(torch.full((), 2.0)), True),
        (torch.empty_like, False),  # whatever the memory happens to hold
        (_filled, True),
        (_overwritten, False),
        (F.normalize, True),  # by one number for all channels, repeated for each
        (lambda x: F.normalize(F.normalize(x)), True),
        (lambda x: x / x.abs().expand_as(x), False),  # zero by zero
    ],
)
def test_what_stays_zero(part: Callable[[Tensor], Tensor], quiet: bool) -> None:
    module = unlift(trace(Between(part), (torch.randn(2, 4),)))
    found = Propagation(module, False, allow_inexact=False, data_sizes=DataSizes())
    found.to_fixpoint()
    (*_, last) = (n for n in found.nodes if n.target is torch.ops.aten.linear.default)
    read = last.all_input_nodes[0]
    assert found.quiet.holds(read) == quiet
    assert found.quiet.holds(read, (found.results[read][0],))  # the batch has no channels
