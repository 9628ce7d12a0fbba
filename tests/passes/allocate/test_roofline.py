"""The estimate of what a plan saves of the time of a run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from graphprune.analysis.analyse import Analysis, analyse
from graphprune.ir.trace import trace
from graphprune.passes.allocate.roofline import BALANCE, Roofline


def analysed(*layers: nn.Module) -> Analysis:
    return analyse(trace(nn.Sequential(*layers).eval(), (torch.randn(1, 3, 8, 8),)))


def pointwise() -> Analysis:
    """A layer of 12 channels without rival axes: 36 products and 12 values for each of 64 places, then 4 outputs."""
    return analysed(nn.Conv2d(3, 12, 1), nn.ReLU(), nn.Conv2d(12, 4, 1))


def test_time_is_arithmetic_and_what_is_written() -> None:
    roofline = Roofline.of(pointwise())

    def time(width: int) -> float:
        return 64 * (7 * width + BALANCE * 4 * (width + 4))

    assert roofline.time([12]) == 1
    assert roofline.time([6]) == pytest.approx(time(6) / time(12))


def test_a_network_of_many_products_for_each_value_doesnt_fall_short() -> None:
    wide = Roofline.of(analysed(nn.Conv2d(3, 256, 3), nn.ReLU(), nn.Conv2d(256, 256, 3), nn.ReLU()))
    assert not wide.falls_short([n // 2 for n in wide.dense], 0.06)
    thin = Roofline.of(analysed(nn.Conv2d(3, 64, 1), nn.SiLU(), nn.Conv2d(64, 64, 3, groups=64)))
    assert not thin.falls_short([n // 2 for n in thin.dense], 0.06)  # all that it writes goes too
    assert Roofline.of(pointwise()).falls_short([6], 0.06)  # four outputs stay


def test_traffic_is_the_share_of_what_is_written() -> None:
    (shares,) = Roofline.of(pointwise()).traffic([np.array([3, 6, 12])])
    np.testing.assert_allclose(shares, np.array([3, 6, 12]) / 16)


def test_a_dynamic_batch_counts_as_one_sample() -> None:
    net = nn.Sequential(nn.Conv2d(3, 12, 1), nn.ReLU(), nn.Conv2d(12, 4, 1)).eval()
    one, two = (Roofline.of(analyse(trace(net, (torch.randn(n, 3, 8, 8),)))) for n in (1, 2))
    assert one.time([6]) == pytest.approx(two.time([6]))
