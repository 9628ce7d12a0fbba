"""A choice between two results: what it gives, which sizes it has, and its gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from graphprune.ir.either import EITHER, choice_names, other_choices
from graphprune.ir.program import unlift
from graphprune.ir.sizes import is_data_dependent
from graphprune.ir.trace import silence_torch


class Choice(nn.Module):
    def __init__(self, extra: int = 0) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(4, 3 + extra)

    def forward(self, x: Tensor, flag: Tensor) -> Tensor:
        result: Tensor = EITHER(flag, self.left(x), self.right(x), "y")
        return result


@pytest.mark.parametrize("flag", [torch.tensor(True), torch.tensor([False])])
def test_the_condition_chooses_unless_the_other_is_asked_for(flag: Tensor) -> None:
    net, x = Choice(), torch.randn(2, 4)
    chosen, other = (net.left, net.right) if flag else (net.right, net.left)
    assert torch.equal(net(x, flag), chosen(x))
    with other_choices():
        assert torch.equal(net(x, flag), other(x))
    net(x, flag).sum().backward()
    assert bool(chosen.weight.grad.any())
    assert not other.weight.grad.any()


@pytest.mark.parametrize("extra", [0, 2])
def test_sizes_that_differ_depend_on_values(extra: int) -> None:
    net, inputs = Choice(extra).eval(), (torch.randn(2, 4), torch.tensor(True))
    with silence_torch():
        program = torch.export.export(net, inputs)
        node = next(n for n in program.graph.nodes if n.target is EITHER)
        assert is_data_dependent(node.meta["val"]) == bool(extra)
    assert choice_names(unlift(program).graph) == {"y"}
    assert program.module()(inputs[0], torch.tensor(False)).shape == (2, 3 + extra)
