"""Tensors that layers get: under which names, as which kind, and what goes with the old ones."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from graphprune.ir.program import unlift
from graphprune.passes.batchnorm.fold import fold
from tests.passes.batchnorm.test_fold import (
    NETS,
    Chain,
    Functional,
    Net,
    SharedConvolution,
    SharedWithoutNorm,
    export,
)


def names(module: fx.GraphModule) -> set[str]:
    return set(dict(module.named_parameters())) | set(dict(module.named_buffers()))


def folded(net: type[Net]) -> fx.GraphModule:
    return fold(unlift(net.program()))[0]


def test_a_convolution_keeps_its_names_and_gains_a_bias() -> None:
    module = folded(NETS[0])
    assert names(module) == {"body.0.weight", "body.0.bias"}
    assert dict(module.named_parameters())["body.0.bias"].requires_grad


def test_a_shared_weight_is_split_under_a_name_beside_it() -> None:
    assert names(folded(SharedConvolution)) == {
        "conv.weight", "conv.bias", "conv.weight_1", "conv.bias_1"
    }  # fmt: skip
    module = folded(SharedWithoutNorm)
    assert names(module) == {"conv.weight", "conv.weight_1", "conv.bias_1"}
    original = dict(unlift(SharedWithoutNorm.program()).named_parameters())["conv.weight"]
    assert torch.equal(dict(module.named_parameters())["conv.weight"], original)


def test_a_weight_that_is_not_called_weight() -> None:
    assert names(folded(Functional)) == {"kernel", "kernel_bias"}


def test_frozen_weights_stay_frozen() -> None:
    net = Chain.__new__(NETS[0])
    nn.Module.__init__(net)
    net.body = nn.Sequential(nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6))
    net.requires_grad_(False)
    module, _ = fold(unlift(export(net, torch.randn(2, 4, 6, 6, dtype=torch.float64))))
    assert [p.requires_grad for p in module.parameters()] == [False, False]


def test_a_weight_held_as_buffer_stays_a_buffer() -> None:
    class Buffer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm2d(6)
            self.register_buffer("weight", torch.randn(6, 4, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.bn(nn.functional.conv2d(x, self.weight))

    program = export(Buffer(), torch.randn(2, 4, 6, 6, dtype=torch.float64))
    module, count = fold(unlift(program))
    assert count == 1
    assert set(dict(module.named_buffers())) == {"weight", "bias"}
    assert not list(module.parameters())
