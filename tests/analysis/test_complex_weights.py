"""Complex weights have channels as real ones do: they are scored, cut, proven, trained and averaged."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphprune as gp


class Spectral(nn.Module):
    """Mix the lowest frequencies of a signal (a layer of a Fourier neural operator)."""

    def __init__(self, inputs: int, outputs: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        self.mix = nn.Parameter(torch.randn(inputs, outputs, modes, dtype=torch.cfloat) / 8)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, inputs, T] -> [B, outputs, T]``."""
        found = torch.fft.rfft(x)
        low = torch.einsum("bik,iok->bok", found[:, :, : self.modes], self.mix)
        padded = F.pad(low, (0, found.shape[-1] - self.modes))
        return torch.fft.irfft(padded, n=x.shape[-1])


class Operator(nn.Module):
    """Two such layers, each beside a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv1d(2, 16, 1), nn.Conv1d(24, 1, 1)
        self.one, self.two = Spectral(16, 24, 5), Spectral(24, 24, 4)
        self.beside, self.other = nn.Conv1d(16, 24, 1), nn.Conv1d(24, 24, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, 2, T] -> [B, 1, T]``."""
        x = self.first(x)
        x = F.gelu(self.one(x) + self.beside(x))
        return self.last(F.gelu(self.two(x) + self.other(x)))


class ComplexLinear(nn.Module):
    """A linear layer of complex numbers."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, dtype=torch.cfloat) / 3)
        self.bias = nn.Parameter(torch.randn(outputs, dtype=torch.cfloat) / 9)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, inputs] -> [B, outputs]``."""
        return F.linear(x, self.weight, self.bias)


class Rectified(nn.Module):
    """Complex layers, with a rectifier on each part."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = ComplexLinear(6, 24), ComplexLinear(24, 32), ComplexLinear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, 6] -> [B, 3]``."""
        y = self.a(torch.complex(x, x / 2))
        y = self.b(torch.complex(y.real.relu(), y.imag.relu()))
        return self.c(torch.complex(y.real.relu(), y.imag.relu())).abs()


class Modulated(Rectified):
    """The same with a function of the absolute value, and the real part as the result."""

    def forward(self, x: Tensor) -> Tensor:
        """``[B, 6] -> [B, 3]``."""
        y = self.a(x + 0j)
        y = self.b(y * y.abs().sigmoid())
        return self.c(y * y.abs().sigmoid()).real


KINDS = [(Operator, (4, 2, 16)), (Rectified, (4, 6)), (Modulated, (4, 6))]
every_kind = pytest.mark.parametrize(("kind", "shape"), KINDS)


def _wide(model: nn.Module) -> nn.Module:
    model = copy.deepcopy(model).double()
    for parameter in model.parameters():
        if parameter.is_complex():
            parameter.data = parameter.data.to(torch.complex128)
    return model


def _masked(model: nn.Module, plan: gp.Plan) -> nn.Module:
    """The dense model in float64, with zeros in all rows of removed channels."""
    model = _wide(model)
    for group in plan.groups:
        gone = torch.tensor(sorted(set(range(group.width)) - set(group.keep)), dtype=torch.int64)
        for axis in group.axes:
            name, _, dim = axis.rpartition(":")
            model.get_parameter(name).data.index_fill_(int(dim), gone, 0)
    return model


@every_kind
def test_a_cut_equals_the_original_with_zeros(
    kind: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    model, x = kind().eval(), torch.randn(shape)
    result = gp.compress(model, (x,), flops=0.5)
    assert isinstance(result.model, type(model)), result.report.eager["reason"]
    assert result.report.after.macs <= 0.5 * result.report.before.macs
    with torch.no_grad():
        got, expected = _wide(result.model)(x.double()), _masked(model, result.plan)(x.double())
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@every_kind
@pytest.mark.parametrize("score", ["taylor", "obd", "fisher", "hrank", "obs"])
def test_every_criterion_reads_both_parts(
    kind: Callable[[], nn.Module], shape: tuple[int, ...], score: str
) -> None:
    torch.manual_seed(0)
    data = [torch.randn(16, *shape[1:])]
    result = gp.compress(
        kind().eval(), torch.randn(shape), flops=0.6, score=score, calibration=data
    )
    assert result.report.budget["met"]
    assert result.report.oracle["max_error"] < 1e-9


@pytest.mark.parametrize("score", ["fpgm", "synflow", "l1", "l2"])
def test_imaginary_parts_count(score: str) -> None:
    torch.manual_seed(0)
    model = Rectified().eval()
    small = torch.arange(24) % 3 == 0  # channels whose real parts are as large as those of others
    with torch.no_grad():
        model.a.weight.imag *= 20
        for parameter, dim in ((model.a.weight, 0), (model.b.weight, 1)):
            view = (-1, 1) if dim == 0 else (1, -1)
            parameter.imag[:] = torch.where(small.view(view), 0.0, parameter.imag)
        model.a.bias.imag[small] = 0
    plan = gp.compress(model, torch.randn(4, 6), params=0.9, score=score, round_to=1).plan
    gone = set(range(24)) - set(plan.groups[0].keep)
    assert gone <= set(small.nonzero().flatten().tolist())


@every_kind
@pytest.mark.parametrize("recover", ["merge", "lossless"])
def test_what_changes_weights_leaves_complex_ones_right(
    kind: Callable[[], nn.Module], shape: tuple[int, ...], recover: str
) -> None:
    torch.manual_seed(0)
    model, x = kind().eval(), torch.randn(shape)
    if recover == "merge":
        assert gp.compress(model, x, flops=0.6, recover="merge").report.budget["met"]
        return
    small = gp.compress(model, x, lossless=True)
    torch.testing.assert_close(small.model(x), model(x))


@every_kind
@pytest.mark.parametrize("method", ["group-lasso", "proximal", "progressive", "gradual"])
def test_training_presses_on_both_parts(
    kind: Callable[[], nn.Module], shape: tuple[int, ...], method: str
) -> None:
    torch.manual_seed(0)
    model, x = kind(), torch.randn(shape)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    shrunk = optimizer if method == "progressive" else None
    sparsify = gp.Sparsify(model, x, flops=0.5, steps=12, method=method, optimizer=shrunk)
    for _ in range(12):
        optimizer.zero_grad()
        (model(x).square().mean() + sparsify.penalty()).backward()
        optimizer.step()
        sparsify.step()
    result = sparsify.finish(optimizer)
    assert result.report.budget["met"]
    assert result.optimizer is not None
    result.model(x).sum().backward()
    result.optimizer.step()


def test_averages_of_complex_weights_are_those_of_both_parts() -> None:
    torch.manual_seed(0)
    first = Rectified()
    second = copy.deepcopy(first)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(torch.randn_like(parameter))
    mixed = gp.soup([first, second])
    expected = (first.a.weight + second.a.weight) / 2
    torch.testing.assert_close(mixed.get_parameter("a.weight"), expected.detach())
