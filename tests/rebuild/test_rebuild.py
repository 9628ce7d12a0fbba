"""The user's class back where it computes the same, and else a reason."""

from __future__ import annotations

import torch
from torch import nn

import graphprune as gp
from tests import nets


def test_a_graph_module_where_the_code_holds_sizes_with_the_reason() -> None:
    net = nets.HardCodedView()
    result = gp.compress(net, net.inputs(), flops=0.5)
    assert isinstance(result.model, torch.fx.GraphModule)
    assert "(nets.py:" in result.report.eager["reason"]
    result.model(*net.inputs()).sum().backward()


class Doubled(nn.Module):
    """A constant in the code, which is a tensor of the program but not of the module."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x).relu() * torch.tensor([2.0])) + torch.tensor(0.5)


def test_a_class_comes_back_with_constants_in_its_code() -> None:
    net, x = Doubled(), torch.randn(2, 3, 8, 8)
    result = gp.compress(net, (x,), flops=0.5)
    assert type(result.model) is Doubled, result.report.eager["reason"]
    torch.testing.assert_close(result.model(x), result.program.module()(x))
