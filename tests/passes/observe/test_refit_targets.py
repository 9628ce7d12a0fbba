"""Where the error of a layer counts, found by following the graph."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from graphprune.analysis.analyse import analyse
from graphprune.data.calibration import gather
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from graphprune.passes.observe import (
    Observations,
    combined_scale_and_shift,
)
from graphprune.passes.observe.find_layers import find_layers
from graphprune.passes.observe.refit_targets import Target, find_target
from tests.passes.observe.helpers import Residual, shaken

aten = torch.ops.aten


class Block(nn.Module):
    """A convolution, a BN, a shortcut and a ReLU, with something between the first two."""

    def __init__(self, between: nn.Module) -> None:
        super().__init__()
        self.conv, self.bn, self.between = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), between

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.between(self.conv(x))) + x)


class Cast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.to(torch.float32)


def target_of(net: nn.Module) -> Target:
    module = unlift(trace(net, (torch.randn(2, 3, 4, 4),)))
    (layer,) = find_layers(module)
    return find_target(layer)


def test_a_block_aims_at_the_sum_before_the_rectifier() -> None:
    target = target_of(Block(nn.Identity()))
    assert target.value.target is aten.add.Tensor
    assert [norm.target for norm in target.norms] == [aten.batch_norm.default]
    assert target.other is not None
    assert target.other.op == "placeholder"
    assert target.limits == (0, math.inf)


def test_a_cast_or_dropout_before_the_norm_changes_nothing() -> None:
    plain = target_of(Block(nn.Identity()))
    for between in (Cast(), nn.Dropout(0.5)):
        target = target_of(Block(between))
        assert target.value.target is plain.value.target
        assert len(target.norms) == 1
        assert target.limits == (0, math.inf)


@pytest.mark.parametrize(
    ("activation", "limits"),
    [
        (nn.ReLU(), (0, math.inf)),
        (nn.ReLU6(), (0, 6)),
        (nn.ReLU6(inplace=True), (0, 6)),
        (nn.Hardtanh(-2, 0.5), (-2, 0.5)),
        (nn.Hardsigmoid(), (-3, 3)),
        (nn.Hardswish(), (-3, math.inf)),
        (nn.SiLU(), None),
        (nn.LeakyReLU(), None),
    ],
)
def test_limits_are_those_of_what_reads_the_target(
    activation: nn.Module, limits: tuple[float, float] | None
) -> None:
    target = target_of(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), activation))
    assert target.limits == limits
    assert (target.end is not target.value) == (limits is not None)


def test_a_clamped_value_that_is_read_elsewhere_too_has_no_limits() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            return x.clamp(0, 6) + x

    assert target_of(Both()).limits is None


def test_an_activation_before_the_norm_ends_the_way() -> None:
    target = target_of(Block(nn.Sigmoid()))
    assert target.value.target is aten.conv2d.default
    assert target.norms == ()
    assert target.other is None


def test_a_target_is_the_sum_behind_the_batchnorm() -> None:
    program = trace(shaken(Residual()), (torch.randn(2, 3, 8, 8),))
    seen = Observations(analyse(program), gather([torch.randn(4, 3, 8, 8)], program))
    stem, conv, head = seen.layers
    assert seen.targets[stem].limits == (0, math.inf)
    assert seen.targets[stem].other is None
    target = seen.targets[conv]
    assert target.value.target is torch.ops.aten.add.Tensor
    assert target.other is not None
    assert target.other.target is torch.ops.aten.relu.default
    assert len(target.norms) == 1
    assert target.limits == (0, math.inf)
    assert seen.targets[head].value is head.node
    assert seen.targets[head].limits is None
    assert seen.targets[head].end is head.node


def test_affine_is_the_batchnorm() -> None:
    net = shaken(Residual())
    program = trace(net, (torch.randn(2, 3, 8, 8),))
    seen = Observations(analyse(program), gather([torch.randn(4, 3, 8, 8)], program))
    found = combined_scale_and_shift(seen.targets[seen.layers[1]].norms, seen.analysis.tensors)
    assert found is not None
    y = torch.randn(2, 8, 5, 5)
    scale, shift = (t.float().view(1, -1, 1, 1) for t in found)
    torch.testing.assert_close(net.bn(y).detach(), y * scale + shift, rtol=1e-5, atol=1e-5)
