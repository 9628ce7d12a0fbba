"""What no plan may do, whatever it is worth."""

from __future__ import annotations

import pytest
import torch

import graphprune as gp
from tests import nets


@pytest.fixture(scope="module")
def net() -> nets.Net:
    torch.manual_seed(0)
    return nets.SqueezeExcite()


def test_limits_are_kept(net: nets.Net) -> None:
    result = gp.compress(net, net.inputs(), flops=0.6, round_to=8, protect=["b.*"])
    widths = {g.id: len(g.keep) for g in result.plan.groups}
    assert widths["b"] == 8
    assert all(w % 8 == 0 for w in widths.values())
    result = gp.compress(net, net.inputs(), flops=0.6, max_cut=0.5, min_channels=6)
    assert all(len(g.keep) >= max(6, g.width / 2) for g in result.plan.groups)
