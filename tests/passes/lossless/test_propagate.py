"""What is known of a value follows from the calls before it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from graphprune.analysis.analyse import analyse
from graphprune.passes.lossless.propagate import find_relations

from .helpers import program


def known_at(net: nn.Module, inputs: Tensor, operator: str) -> list[int]:
    """The dependent channels in the last result of an operator."""
    analysis = analyse(program(net, inputs))
    found = find_relations(analysis)
    nodes = [n for n in analysis.module.graph.nodes if str(n.target) == operator]
    known = found.get((nodes[-1], analysis.groups[0].id))
    return [] if known is None else known.single.gone.tolist()


class Between(nn.Module):
    """A convolution with a zero channel and a copied one, a function, and a convolution that reads it."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.a, self.act, self.b = nn.Conv2d(3, 6, 3), act, nn.Conv2d(6, 4, 1)
        with torch.no_grad():
            self.a.weight[1], self.a.bias[1] = 0, 0
            self.a.weight[4], self.a.bias[4] = self.a.weight[2], self.a.bias[2]

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.act(self.a(x)))


@pytest.mark.parametrize(
    ("act", "operator"),
    [
        (nn.ReLU(), "aten.relu.default"),
        (nn.Sigmoid(), "aten.sigmoid.default"),
        (nn.Hardtanh(-1e-3, 1e-3), "aten.hardtanh.default"),
        (nn.MaxPool2d(2, padding=1), "aten.max_pool2d.default"),
        (nn.AvgPool2d(3, padding=1), "aten.avg_pool2d.default"),
        (nn.Upsample(scale_factor=2, mode="bilinear"), "aten.upsample_bilinear2d.vec"),
        (nn.ZeroPad2d(1), "aten.pad.default"),
    ],
)
def test_zero_and_equal_channels_pass_functions_of_each(act: nn.Module, operator: str) -> None:
    assert known_at(Between(act), torch.randn(1, 3, 8, 8), operator) == [1, 4]


@pytest.mark.parametrize(("bias", "expected"), [(0.0, [1, 4]), (1.0, [4])])
def test_padded_averages_keep_zero_but_no_other_constant(bias: float, expected: list[int]) -> None:
    net = Between(nn.AvgPool2d(3, padding=1))
    with torch.no_grad():
        net.a.bias[1] = bias
    assert known_at(net, torch.randn(1, 3, 8, 8), "aten.avg_pool2d.default") == expected


def test_a_dead_relu_is_dead_by_its_weights_only() -> None:
    net = Between(nn.ReLU())
    with torch.no_grad():
        net.a.bias[0] = -1e6
        net.a.bias[1] = -1.0
    assert known_at(net, torch.zeros(1, 3, 8, 8), "aten.relu.default") == [1, 4]


def test_masks_of_inputs_prove_nothing() -> None:
    """On zeros, the mask would be true everywhere; what it hides is known of no input."""

    class Masked(Between):
        def forward(self, x: Tensor) -> Tensor:
            hidden = self.a(x)
            return self.b(hidden.masked_fill(x[:, :1, 1:-1, 1:-1] <= 0, 3.0))

    net = Masked(nn.Identity())
    assert known_at(net, torch.randn(1, 3, 8, 8), "aten.masked_fill.Scalar") == []


def test_one_sample_of_a_linear_layer_is_enough() -> None:
    net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 2))
    with torch.no_grad():
        net[0].weight[3], net[0].bias[3] = net[0].weight[0], net[0].bias[0]
    assert known_at(net, torch.randn(1, 5), "aten.tanh.default") == [3]
