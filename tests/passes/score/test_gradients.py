"""Gradients of random projections."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphprune.data.calibration import Calibration
from graphprune.passes.observe import Observations
from graphprune.passes.score import (
    Probes,
    Taylor,
)
from graphprune.passes.score.gradients import Gated
from tests.passes.score.networks import (
    Plain,
    TwoLinears,
    analysed,
    images,
)


def test_only_so_many_samples_are_used() -> None:
    analysis, seen = analysed(Plain(), images(64))
    values = Taylor(Probes(samples=30))(analysis, seen).values["a"]
    poisoned = torch.cat([batch[0] for batch in seen.batches])
    poisoned[30:] = torch.inf
    sizes = [len(batch[0]) for batch in seen.batches]
    data = Calibration(tuple((x,) for x in poisoned.split(sizes)))
    again = Taylor(Probes(samples=30))(analysis, Observations(analysis, data)).values["a"]
    np.testing.assert_array_equal(values, again)


def test_a_gradient_is_that_of_the_signed_sum_of_the_outputs() -> None:
    """With one output each projection is the output, or its opposite."""
    net, x = TwoLinears(), torch.randn(1, 5)
    analysis, seen = analysed(net, x)
    net(x).sum().backward()
    for count, found in Probes(draws=3).of_parameters(analysis, seen.data):
        assert count == 1
        for name in ("a.weight", "b.weight"):
            tensor = analysis.tensors[name]
            got, grad = found[id(tensor)], net.get_parameter(name).grad
            assert grad is not None
            assert torch.allclose(got, grad) or torch.allclose(got, -grad)


def test_a_gate_weighs_what_the_gate_of_its_channel_would_change() -> None:
    net, x = TwoLinears(), torch.randn(1, 5)
    analysis, seen = analysed(net, x)
    (group,) = analysis.groups
    share = (net.a(x)[0] * net.b.weight[0]).detach().double()
    for _, found in Probes(draws=2).of_gates(analysis, seen.data):
        torch.testing.assert_close(found[group.labels].abs(), share.abs(), rtol=1e-5, atol=1e-6)


def test_gates_at_one_change_nothing_and_gates_at_zero_remove_channels() -> None:
    net, x = Plain(), images(3)
    analysis, _ = analysed(net, x)
    gates = torch.ones(len(analysis.labels), dtype=torch.float64)
    torch.testing.assert_close(Gated(analysis, gates).outputs((x,))[0], net(x))
    group = next(g for g in analysis.groups if g.id == "a")
    gates[group.labels[[1, 6]]] = 0
    net.b.weight.data[:, [1, 6]] = 0
    torch.testing.assert_close(Gated(analysis, gates).outputs((x,))[0], net(x))


@pytest.mark.parametrize(("samples", "draws"), [(1, 1), (10, 3), (64, 2)])
def test_every_sample_is_projected_so_often(samples: int, draws: int) -> None:
    analysis, seen = analysed(Plain(), images(64))
    counts = [n for n, _ in Probes(samples=samples, draws=draws).of_parameters(analysis, seen.data)]
    assert sum(counts) == samples * draws
