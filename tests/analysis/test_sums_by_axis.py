"""A sum over one axis may lose rows where that axis is quiet, whatever holds of the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphprune as gp
from graphprune.analysis.frozen import frozen


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


class Summed(nn.Module):
    """A linear layer written as a product and a sum, with a weight that is computed."""

    def __init__(self, inputs: int, outputs: int, compute: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(inputs, outputs) * 0.3)
        self.b = nn.Parameter(torch.randn(outputs) * 0.1)
        self.compute = compute

    def forward(self, x: Tensor) -> Tensor:
        return (x[..., None] * self.compute(self.w)).sum(-2) + self.b


def centred(w: Tensor) -> Tensor:
    """A statistic over the inputs, for which the weight is stored once they are cut."""
    return w - w.mean(0)


@pytest.mark.parametrize("compute", [torch.clone, torch.exp, F.softplus, torch.sigmoid, centred])
def test_a_layer_that_is_written_out_is_cut(compute: Callable[[Tensor], Tensor]) -> None:
    layers = [Summed(6, 16, compute), nn.ReLU(), Summed(16, 12, compute), nn.Sigmoid()]
    net = nn.Sequential(*layers, Summed(12, 4, compute))
    result = gp.compress(net, (torch.randn(3, 6),), params=0.5)
    assert result.report.oracle["max_error"] < 1e-9
    assert [group.width for group in result.plan.groups] == [16, 12]


def test_a_residual_stream_of_such_layers_is_cut() -> None:
    class Stream(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inp, self.out = nn.Linear(6, 16), nn.Linear(16, 4)
            self.block = Summed(16, 16, torch.exp)

        def forward(self, x: Tensor) -> Tensor:
            x = self.inp(x)
            return self.out(x + self.block(x.relu()))

    result = gp.compress(Stream(), (torch.randn(3, 6),), params=0.5)
    assert [group.width for group in result.plan.groups] == [16]


class StateSpace(nn.Module):
    """One step of a selective scan: the states of each channel are summed over, ``softplus`` is not zero at zero."""

    def __init__(self, *, by_einsum: bool) -> None:
        super().__init__()
        self.inp, self.step = nn.Linear(12, 24), nn.Linear(24, 24)
        self.b, self.c = nn.Linear(24, 8, bias=False), nn.Linear(24, 8, bias=False)
        self.out = nn.Linear(24, 5)
        self.by_einsum = by_einsum

    def forward(self, x: Tensor) -> Tensor:
        u = F.relu(self.inp(x))
        step = F.softplus(self.step(u))
        if self.by_einsum:
            state = torch.einsum("bd,bn,bd->bdn", step, self.b(u), u)
        else:
            state = step[:, :, None] * self.b(u)[:, None, :] * u[:, :, None]
        return self.out((state * self.c(u)[:, None, :]).sum(-1))


@pytest.mark.parametrize("by_einsum", [False, True])
def test_the_states_of_a_scan_are_cut(*, by_einsum: bool) -> None:
    net, x = StateSpace(by_einsum=by_einsum), torch.randn(3, 12)
    assert [group.width for group in gp.inspect(net, (x,)).groups] == [24, 8]
    result = gp.compress(net, (x,), flops=0.4)
    assert result.report.oracle["max_error"] < 1e-9


class Shifted(nn.Module):
    """A sum over one of two axes, one of which only a sigmoid of activations has: it is not zero at zero."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 16), nn.Linear(6, 8, bias=False)
        self.out = nn.Linear(8 if dim == 1 else 16, 4)
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        pairs = self.a(x).sigmoid()[:, :, None] * self.b(x)[:, None, :]
        return self.out(pairs.sum(self.dim))


@pytest.mark.parametrize(("dim", "widths"), [(1, [8]), (2, [16, 8])])
def test_a_sum_along_a_loud_axis_keeps_it_whole(dim: int, widths: list[int]) -> None:
    net, x = Shifted(dim), torch.randn(2, 6)
    analysis = gp.inspect(net, (x,))
    assert [group.width for group in analysis.groups] == widths
    assert any(f.operator == "aten.sum.dim_IntList" for f in frozen(analysis)) == (dim == 1)
    assert gp.compress(net, (x,), params=0.8).report.oracle["max_error"] < 1e-9


def test_tokens_repeated_by_computed_counts_keep_their_channels_free() -> None:
    class Expanded(nn.Module):
        def __init__(self, *, listed: bool) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(16, 12), nn.Linear(12, 4)
            self.listed = listed

        def forward(self, x: Tensor) -> Tensor:
            times = (x[:, 0].abs() * 3).round().long() + 1
            y = self.a(x).relu()
            y = y[torch.repeat_interleave(times)] if self.listed else y.repeat_interleave(times, 0)
            return self.c(self.b(y).relu())

    for listed in (False, True):
        result = gp.compress(Expanded(listed=listed), (torch.randn(5, 6),), flops=0.5)
        assert [group.width for group in result.plan.groups] == [16, 12]
