"""Scales of BatchNorm, summed over all that a channel passes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from graphprune.passes.score import BatchNormScale, Magnitude
from tests.passes.score.networks import Plain, TwoLinears, analysed, images


def test_the_score_is_the_size_of_the_scale() -> None:
    net = Plain()
    net.n.weight.data[3] *= -1
    analysis, _ = analysed(net, images())
    found = BatchNormScale()(analysis)
    np.testing.assert_allclose(found.values["a"], net.n.weight.detach().abs().numpy(), rtol=1e-6)


class Twice(nn.Module):
    """A stream that passes two norms."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)
        self.n, self.m = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.n.weight.data = torch.tensor([1.0, 2.0, -3.0, 4.0])
        self.m.weight.data = torch.tensor([10.0, -20.0, 30.0, 40.0])

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.m(torch.relu(self.n(self.a(x)))))


def test_all_norms_of_a_channel_count() -> None:
    found = BatchNormScale()(analysed(Twice().eval(), images())[0])
    assert found.values["a"].tolist() == [11, 22, 33, 44]
    assert found.notes == ()


def test_without_a_norm_magnitude_stands_in_and_the_group_is_named() -> None:
    analysis, _ = analysed(TwoLinears(), torch.randn(4, 5))
    found = BatchNormScale()(analysis)
    np.testing.assert_array_equal(found.values["a"], Magnitude(p=1)(analysis).values["a"])
    (note,) = found.notes
    assert "a" in note.split()[-1]
