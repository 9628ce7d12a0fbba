"""The operator that keeps axes whole: it hands values on, of any type, and their gradients."""

from __future__ import annotations

import pytest
import torch

import graphprune as gp
from graphprune.ir.keep_axes import KEEP_AXES


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8])
def test_values_are_handed_on(dtype: torch.dtype) -> None:
    x = torch.arange(6).reshape(2, 3).to(dtype)
    assert torch.equal(KEEP_AXES(x, [1], "Node 'n'", "keeps it"), x)


def test_gradients_are_handed_on() -> None:
    x = torch.randn(2, 3, requires_grad=True)
    KEEP_AXES(x, [0], "Node 'n'", "keeps it").square().sum().backward()
    assert torch.equal(x.grad, 2 * x.detach())


class Net(torch.nn.Module):
    """A hidden axis of 6 as 2 blocks of 3 rows, of which an axis is kept; the weight of the first layer may be computed."""

    def __init__(self, axis: int, *, stored: bool) -> None:
        super().__init__()
        self.axis, self.stored = axis, stored
        self.first, self.last = torch.nn.Linear(4, 6), torch.nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def keep(value: torch.Tensor, axis: int) -> torch.Tensor:
            made: torch.Tensor = KEEP_AXES(value, [axis], "Node 'n'", "keeps it")
            return made

        if self.stored:
            weight = keep(self.first.weight.view(2, 3, 4), self.axis).view(6, 4)
            return self.last(torch.relu(torch.nn.functional.linear(x, weight)))
        y = keep(self.first(x).view(-1, 2, 3), self.axis + 1).view(-1, 6)
        return self.last(torch.relu(y))


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize(("axis", "left"), [(0, 3), (1, 2)])
def test_rows_of_the_other_axis_go(axis: int, left: int, *, stored: bool) -> None:
    analysis = gp.inspect(Net(axis, stored=stored), (torch.randn(2, 4),))
    assert [group.width for group in analysis.groups] == [left]
