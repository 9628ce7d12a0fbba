"""The flow through a channel, at any depth and scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from graphprune.analysis.analyse import analyse
from graphprune.ir.trace import trace
from graphprune.passes.score import (
    SynapticFlow,
)
from tests.passes.score.networks import (
    EXACT,
    Plain,
    TwoLinears,
    analysed,
    images,
    weights,
)


def test_synflow_is_the_flow_through_a_channel() -> None:
    net = TwoLinears(outputs=3)
    a, b = (np.abs(w) for w in weights(net))
    flow = a.sum(1) * b.sum(0)
    found = SynapticFlow()(analysed(net, torch.randn(2, 5))[0]).values["a"]
    np.testing.assert_allclose(found / found.sum(), flow / flow.sum(), rtol=EXACT)


def test_synflow_keeps_the_order_under_a_scale_of_any_layer_and_is_conserved() -> None:
    net, scaled = Plain(), Plain()
    scaled.a.weight.data *= 1e3
    scores = [SynapticFlow()(analysed(n, images())[0]).values for n in (net, scaled)]
    np.testing.assert_allclose(scores[0]["a"], scores[1]["a"], rtol=EXACT)
    # Once each through the convolution, BatchNorm and the next layer; and through two layers.
    assert scores[0]["a"].sum() / 3 == pytest.approx(scores[0]["b"].sum() / 2, rel=EXACT)


def test_synflow_stays_finite_in_deep_networks() -> None:
    torch.manual_seed(0)
    layers = [m for _ in range(40) for m in (nn.Linear(32, 32), nn.ReLU())]
    net = nn.Sequential(*layers, nn.Linear(32, 2))
    for layer in net[::2]:
        layer.weight.data *= 50
    analysis = analyse(trace(net, (torch.randn(2, 32),)))
    values = SynapticFlow()(analysis).values
    assert all(np.isfinite(v).all() and v.min() > 0 for v in values.values())
