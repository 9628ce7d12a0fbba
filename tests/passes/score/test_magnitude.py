"""Sums of powers over all that goes with a channel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.ir.trace import trace
from graphprune.passes import (
    Analyse,
    Score,
)
from graphprune.passes.score import Magnitude
from tests import nets


@pytest.fixture(scope="module")
def net() -> nets.Net:
    torch.manual_seed(0)
    return nets.SqueezeExcite()


def test_magnitude_reduces_over_every_parameter_of_the_group(net: nets.Net) -> None:
    state = gp.Pipeline((Analyse(), Score(Magnitude(p=1)))).run(trace(net, net.inputs()))
    analysis = state[Analysis]
    scores = state[type(Magnitude()(analysis))].values["a"]
    a, b, c, d = (m.weight.detach().abs().double() for m in (net.a, net.b, net.c, net.d))
    expected = (
        a.sum((1, 2, 3))
        + net.a.bias.detach().abs()
        + b.sum((0, 2, 3))
        + c.sum((1, 2, 3))
        + net.c.bias.detach().abs()
        + d.sum((0, 2, 3))
    )
    np.testing.assert_allclose(scores, expected.numpy(), rtol=1e-12)
