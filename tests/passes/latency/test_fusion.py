"""What onnxruntime computes together with the layer before it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphprune.analysis.analyse import analyse
from graphprune.ir.trace import trace
from graphprune.passes.latency.exported import Exported
from graphprune.passes.latency.fusion import Fusion, is_convolution


class Net(nn.Module):
    """What ``then`` does behind a convolution; ``other`` is another one."""

    def __init__(self, then: Callable[[Net, Tensor], object]) -> None:
        super().__init__()
        self.conv, self.other, self.n = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.then = then

    def forward(self, x: Tensor) -> object:
        return self.then(self, x)


TAILS: dict[str, tuple[Callable[[Net, Tensor], object], tuple[object, ...]]] = {
    "nothing": (lambda m, x: m.conv(x), ()),
    "relu": (lambda m, x: m.conv(x).relu(), (("Relu",),)),
    "clip": (lambda m, x: F.hardtanh(m.conv(x), -1, 2), (("Clip", -1.0, 2.0),)),
    "six": (lambda m, x: F.relu6(m.conv(x)), (("Clip", 0.0, 6.0),)),
    "leaky": (lambda m, x: F.leaky_relu(m.conv(x), 0.2), (("LeakyRelu", 0.2),)),
    "silu": (lambda m, x: F.silu(m.conv(x)), (("Swish",),)),
    "norm folds": (lambda m, x: m.n(m.conv(x)).relu(), (("Relu",),)),
    "shortcut": (lambda m, x: (m.conv(x) + x).relu(), (("Add",), ("Relu",))),
    "one activation": (lambda m, x: m.conv(x).relu().sigmoid(), (("Relu",),)),
    "sum after it": (lambda m, x: m.conv(x).relu() + x, (("Relu",),)),
    "a number": (lambda m, x: (m.conv(x) + 1).relu(), ()),
    "a stretched sum": (lambda m, x: (m.conv(x) + x[:, :1]).relu(), ()),
    "two readers": (lambda m, x: ((y := m.conv(x)).relu(), y), ()),
    "no activation": (lambda m, x: m.conv(x).exp(), ()),
}


def fusion(net: nn.Module) -> tuple[Fusion, list[torch.fx.Node]]:
    analysis = analyse(trace(net.eval(), (torch.randn(2, 3, 4, 4),)))
    return Fusion(Exported(analysis)), [n for n in analysis.module.graph.nodes if is_convolution(n)]


@pytest.mark.parametrize("name", TAILS)
def test_tails(name: str) -> None:
    then, expected = TAILS[name]
    found, (conv,) = fusion(Net(then))
    assert found.tail(conv) == expected
    assert len(found.fused) == len(expected)


def test_a_sum_is_computed_with_its_first_operand_that_is_a_layer() -> None:
    found, (first, second) = fusion(Net(lambda m, x: (m.conv(x) + m.other(x)).relu()))
    assert found.tail(second) == ()
    assert found.tail(first) == (("Add",), ("Relu",))


def test_a_transposed_convolution_is_no_convolution() -> None:
    assert fusion(nn.ConvTranspose2d(3, 3, 2))[1] == []
    assert fusion(nn.Flatten())[1] == []
