"""Variances and ranks of activations, as the next layers read them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from graphprune.analysis.analyse import analyse
from graphprune.data.calibration import gather
from graphprune.ir.trace import trace
from graphprune.passes.observe import Observations
from graphprune.passes.score import (
    ActivationVariance,
    FeatureRank,
    Magnitude,
)
from tests import nets
from tests.passes.score.networks import (
    EXACT,
    WIDTH,
    Plain,
    TwoLinears,
    analysed,
    images,
    weights,
)


def test_variance_is_streamed() -> None:
    net, x = Plain(), images(50)
    with torch.no_grad():
        hidden = torch.relu(net.n(net.a(x))).double()
    expected = hidden.var((0, 2, 3), correction=0) * net.b.weight.double().square().sum((0, 2, 3))
    found = ActivationVariance()(*analysed(net, x)).values["a"]
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=EXACT)


def test_variance_does_not_cancel_where_means_are_large() -> None:
    net = TwoLinears()
    x = torch.randn(200, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 1e6
    net.double()
    hidden = x.numpy() @ weights(net)[0].T
    expected = hidden.var(0) * weights(net)[1][0] ** 2
    found = ActivationVariance()(*analysed(net, x)).values["a"]
    np.testing.assert_allclose(found, expected, rtol=EXACT)


def test_variance_of_a_flattened_map_weighs_each_position() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))
    x = images(20)
    with torch.no_grad():
        hidden = net[1](net[0](x)).double()
        each = hidden.var(0, correction=0) * net[2].weight.double().square().sum(0)
    found = ActivationVariance()(*analysed(net, x)).values["0"]
    np.testing.assert_allclose(found, each.view(4, 36).sum(1).numpy(), rtol=EXACT)


def test_variance_sees_both_factors_of_attention() -> None:
    torch.manual_seed(0)
    net = nets.HeadsAndGroups()
    program = trace(net, net.inputs())
    analysis = analyse(program)
    scores = ActivationVariance()(analysis, Observations(analysis, gather([net.inputs()], program)))
    assert all((scores.values[g.id] > 0).all() for g in analysis.groups)
    assert not scores.notes


class Summed(nets.Net):
    """The channels of ``a`` are summed, which no layer does."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(1, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x)).sum(1, keepdim=True))


def test_what_no_layer_reads_falls_back_and_is_named() -> None:
    torch.manual_seed(0)
    net = Summed()
    program = trace(net, net.inputs())
    analysis = analyse(program)
    scores = ActivationVariance()(analysis, Observations(analysis, gather([net.inputs()], program)))
    assert "a" in scores.notes[0]
    np.testing.assert_array_equal(scores.values["a"], Magnitude(p=2)(analysis).values["a"])


class Maps(nn.Module):
    """Channels of known rank: 1, 2, 0 and full."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 4, 1, bias=False), nn.Conv2d(4, 2, 1)
        self.a.weight.data = torch.eye(4).view(4, 4, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x)).mean((2, 3))


def test_hrank_is_the_mean_rank_of_the_maps() -> None:
    x = torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    x[:, 0] = x[:, 0, :1] * x[:, 0, :, :1]
    x[:, 1, 2:] = 0
    x[:, 2] = 0
    x[3:, 3] = 0
    scores = FeatureRank()(*analysed(Maps(), x))
    assert scores.values["a"].tolist() == [1, 2, 0, 4]
    assert not scores.notes


def test_hrank_names_groups_of_vectors() -> None:
    scores = FeatureRank()(*analysed(TwoLinears(), torch.randn(4, 5)))
    assert scores.values["a"].tolist() == [1] * WIDTH
    assert "vectors" in scores.notes[0]


def test_hrank_uses_as_many_samples_as_it_is_told() -> None:
    x = torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    x[4:] = 0
    few, all_ = (FeatureRank(samples=n)(*analysed(Maps(), x)).values["a"] for n in (4, 6))
    assert few.tolist() == [8] * 4
    assert all_ == pytest.approx(8 * 4 / 6)
