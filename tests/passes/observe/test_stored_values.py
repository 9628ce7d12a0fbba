"""Stored tensors, and calls on them: another value counts for all that is computed from it later."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphprune.analysis.analyse import analyse
from graphprune.ir.trace import trace
from graphprune.passes.observe import StoredValues
from graphprune.passes.observe.find_layers import find_layers


class Parts(nn.Module):
    """Two layers whose weights are parts of one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Parameter(torch.randn(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.both.chunk(2)
        return nn.functional.linear(torch.relu(nn.functional.linear(x, first)), second)


def test_a_part_is_written_back_into_its_tensor() -> None:
    torch.manual_seed(0)
    net = Parts()
    module = analyse(trace(net, (torch.randn(3, 4),))).module
    first, second = find_layers(module)
    stored = StoredValues(module)
    torch.testing.assert_close(stored.constant(first.weight), net.both[:4].detach())
    stored.set_constant(first.weight, torch.zeros(4, 4))
    stored.write_back(first.weight)
    want = torch.cat([torch.zeros(4, 4), net.both[4:].detach()])
    torch.testing.assert_close(stored.stored()["both"], want)
    torch.testing.assert_close(stored.constant(second.weight), net.both[4:].detach())
    assert bool(net.both[:4].any()), "the module has its own"
    replaced = StoredValues(module, {"both": torch.ones(8, 4)})
    torch.testing.assert_close(replaced.constant(second.weight), torch.ones(4, 4))
