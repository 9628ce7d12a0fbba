"""Channels that others could stand in for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphprune.passes.score import (
    GeometricMedian,
    Spline,
)
from tests.passes.score.networks import (
    EXACT,
    WIDTH,
    Plain,
    analysed,
    images,
)


def orthogonal(net: Plain) -> Plain:
    """Filters of one norm at right angles; no shift."""
    rows = torch.linalg.qr(torch.randn(27, 27))[0][:WIDTH]
    net.a.weight.data = rows.view_as(net.a.weight)
    net.a.bias.data.zero_()
    for tensor, value in (
        (net.n.weight, 1),
        (net.n.bias, 0),
        (net.n.running_mean, 0),
        (net.n.running_var, 1 - net.n.eps),
    ):
        tensor.data.fill_(value)
    return net


def test_fpgm_finds_duplicates() -> None:
    net = orthogonal(Plain())
    net.a.weight.data[5] = net.a.weight.data[2]
    values = GeometricMedian()(analysed(net, images())[0]).values["a"]
    each = 2**0.5
    expected = np.full(WIDTH, (WIDTH - 1) * each)
    expected[[2, 5]] = (WIDTH - 2) * each
    np.testing.assert_allclose(values, expected, rtol=EXACT)


def test_fpgm_sees_the_scale_of_batchnorm() -> None:
    plain, scaled = Plain(), Plain()
    scaled.a.weight.data *= 3
    scaled.n.weight.data /= 3
    scores = [GeometricMedian()(analysed(n, images())[0]).values["a"] for n in (plain, scaled)]
    np.testing.assert_allclose(*scores, rtol=EXACT)


@pytest.mark.parametrize("factor", [1.0, 2.0, 0.25])
def test_spline_removes_one_of_two_units_on_one_hyperplane(factor: float) -> None:
    net = Plain()
    for tensor in (net.a.weight, net.a.bias, net.n.running_mean):
        tensor.data[5] = factor * tensor.data[2]
    for tensor in (net.n.weight, net.n.bias, net.n.running_var):
        tensor.data[5] = tensor.data[2]
    net.n.bias.data[5] = net.n.bias.data[2] = 0
    values = Spline()(analysed(net, images())[0]).values["a"]
    low, high = sorted(values[[2, 5]])
    assert low == pytest.approx(0, abs=EXACT)
    assert high > 0.1
    assert (np.delete(values, [2, 5]) > 0.1).all()


def test_spline_does_not_depend_on_the_size_of_units() -> None:
    net, scaled = Plain(), Plain()
    for tensor in (scaled.n.weight, scaled.n.bias):
        tensor.data *= 7
    values = [Spline()(analysed(n, images())[0]).values["a"] for n in (net, scaled)]
    np.testing.assert_allclose(*values, rtol=EXACT)


def test_spline_tells_parallel_units_apart_by_their_offset() -> None:
    net = orthogonal(Plain())
    net.a.weight.data[5] = net.a.weight.data[2]
    net.a.bias.data[5] = 0.5
    values = Spline()(analysed(net, images())[0]).values["a"]
    assert min(values[[2, 5]]) == pytest.approx(0.5, rel=EXACT)


def test_constant_units_score_zero_under_spline() -> None:
    net = Plain()
    net.a.weight.data[4] = 0
    values = Spline()(analysed(net, images())[0]).values["a"]
    assert values[4] == 0
    assert (np.delete(values, 4) > 0).all()
