"""Parts of stored tensors, and what reads them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphprune.ir.program import unlift
from graphprune.ir.sizes import shape
from graphprune.ir.trace import trace
from graphprune.passes.observe import (
    StagedRun,
    StoredTensors,
)
from graphprune.passes.observe.find_layers import find_layers


class Slices(nn.Module):
    """Parts of one tensor: two that lie apart, two that overlap, one that repeats elements, and a copy."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.v, self.u, self.one = (nn.Parameter(torch.randn(12, 6)) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.w.split([4, 8])
        weights = (
            first,
            second,
            self.v[:5],
            self.v[4:],
            self.u[:1].expand(3, 6),
            self.one.view(6, 12)[:, ::2].T,
        )
        return torch.cat([nn.functional.linear(x, weight) for weight in weights], -1)


def test_a_part_is_its_layers_own_if_nothing_else_reads_its_elements() -> None:
    module = unlift(trace(Slices(), (torch.randn(2, 6),)))
    layers, stored = find_layers(module), StoredTensors(module)
    assert [stored.is_exclusive(each.weight, 1) for each in layers] == [
        True,
        True,
        False,
        False,
        False,
        True,
    ]


def test_what_a_part_is_given_is_written_into_its_tensor() -> None:
    net = Slices()
    module = unlift(trace(net, (torch.randn(2, 6),)))
    first, *_, last = find_layers(module)
    run = StagedRun(module, [[torch.randn(2, 6)]])
    for layer in (first, last):
        run.set_constant(layer.weight, torch.full(shape(layer.weight), 7.0))
        run.write_back(layer.weight)
    assert torch.equal(run.tensors["w"], torch.cat([torch.full((4, 6), 7.0), net.w[4:]]))
    assert torch.equal(run.tensors["one"].view(6, 12)[:, ::2], torch.full((6, 6), 7.0))
    assert torch.equal(run.tensors["one"].view(6, 12)[:, 1::2], net.one.view(6, 12)[:, 1::2])
    assert not (net.w == 7).any()
