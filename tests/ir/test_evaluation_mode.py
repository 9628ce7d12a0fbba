"""A model that was held in evaluation mode is as it was before."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from torch import Tensor, nn

from graphprune.errors import TraceError
from graphprune.ir.evaluation_mode import evaluation_mode
from graphprune.ir.trace import trace
from tests import nets


def test_the_model_keeps_its_modes_and_values() -> None:
    net = nets.NormedResidual()
    net.train()
    next(net.children()).eval()
    modes = [module.training for module in net.modules()]
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    trace(net, net.inputs())
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    with suppress(ZeroDivisionError), evaluation_mode(net):
        assert not net.training
        raise ZeroDivisionError
    assert [module.training for module in net.modules()] == modes


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + self.calls


def test_buffers_that_it_writes_have_their_values_back() -> None:
    net = Counting().train()
    with evaluation_mode(net):
        net(torch.zeros(2))
    assert net.training
    assert float(net.calls) == 0


def test_a_module_without_an_evaluation_mode_is_named() -> None:
    module = trace(nn.Linear(4, 2), (torch.randn(2, 4),)).module()
    with pytest.raises(TraceError, match="has no evaluation mode"), evaluation_mode(module):
        pass
