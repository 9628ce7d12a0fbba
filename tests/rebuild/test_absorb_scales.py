"""Parameters that take over what a cut graph has factors for."""

from __future__ import annotations

import pytest
import torch

import graphprune as gp
from tests import nets


@pytest.mark.parametrize("name", ["RmsNormed", "LanguageModel", "GlobalResponseNorm"])
def test_a_class_takes_over_what_makes_up_for_channels_in_a_sum(name: str) -> None:
    torch.manual_seed(0)  # some plans leave heads that the class could not compute
    net = nets.NETS[name]()
    result = gp.compress(net, net.inputs(), flops=0.3, allocate="uniform")
    assert type(result.model) is nets.NETS[name], result.report.eager["reason"]
    assert result.report.inexact == ()
