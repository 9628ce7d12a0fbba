"""Pruning while training on a device that isn't there: the parameters stay there, and the plans are the CPU's."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.ir.devices import put
from graphprune.ir.run_on_device import put_model
from tests.fake_device import fake_device
from tests.workflow.test_on_a_device import made


def trained(net: nn.Module, inputs: tuple[Tensor, ...], method: str, data: Any) -> Any:
    """Six steps of a plain loop, and the end."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    shrinks = {"optimizer": optimizer} if method == "progressive" else {}
    more = {"calibration": [data]} if method == "gradual" else {}
    sparsify = gp.Sparsify(net, inputs, flops=0.6, steps=6, method=method, **shrinks, **more)
    for _ in range(6):
        loss = net.train()(*inputs).square().mean() + sparsify.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        sparsify.step()
    return sparsify.finish(optimizer)


@pytest.mark.parametrize("method", ["group-lasso", "progressive", "gradual"])
def test_a_model_is_pruned_where_it_is_trained(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, data = made("NormedResidual", 20)
    inputs = net.inputs()
    expected = trained(copy.deepcopy(net), inputs, method, data)
    with fake_device(monkeypatch) as fake:
        there = put_model(net, fake.device)
        got = trained(there, put(inputs, fake.device), method, data)
        assert got.plan == expected.plan
        assert {p.device for p in there.parameters()} == {fake.device}
        assert {p.device for p in got.model.parameters()} == {fake.device}
        states = [v for state in got.optimizer.state.values() for v in state.values()]
        assert states
        assert {v.device for v in states} == {fake.device}
        for name, value in expected.model.state_dict().items():
            assert torch.equal(got.model.state_dict()[name].cpu(), value), name
