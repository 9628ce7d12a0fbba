"""Idioms of published networks that no single operator shows: weights per sample, spectra, graphs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import graphprune as gp


class Modulated(nn.Module):
    """A convolution whose weights are scaled for each sample, as one of as many groups (StyleGAN2)."""

    def __init__(self) -> None:
        super().__init__()
        self.style, self.first = nn.Linear(6, 12), nn.Conv2d(3, 12, 3, padding=1)
        self.weight = nn.Parameter(torch.randn(1, 10, 12, 3, 3) / 10)
        self.last = nn.Conv2d(10, 3, 1)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """``[B, 3, H, W]`` and ``[B, 6] -> [B, 3, H, W]``."""
        x = self.first(x).relu()
        b, c, h, w = x.shape
        weight = self.weight * self.style(z).view(b, 1, c, 1, 1)
        weight = weight * (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        x = F.conv2d(x.reshape(1, b * c, h, w), weight.flatten(0, 1), padding=1, groups=b)
        return self.last(x.view(b, -1, h, w).relu())


class Spectral(nn.Module):
    """Features filtered in the frequency domain (GFNet), with an MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.filter = nn.Conv2d(3, 16, 1), nn.Parameter(torch.randn(8, 5, 16, 2) / 10)
        self.wide, self.narrow, self.head = nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, 3, 8, 8] -> [B, 5]``."""
        x = self.first(x).movedim(1, -1)
        y = torch.fft.rfft2(x, dim=(1, 2), norm="ortho") * torch.view_as_complex(self.filter)
        y = torch.fft.irfft2(y, s=x.shape[1:3], dim=(1, 2), norm="ortho")
        return self.head((x + self.narrow(F.gelu(self.wide(y)))).mean((1, 2)))


class Operator(nn.Module):
    """Complex weights mix the lowest frequencies (a Fourier neural operator)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.mix = (
            nn.Conv1d(2, 8, 1),
            nn.Parameter(torch.randn(8, 8, 4, dtype=torch.cfloat) / 8),
        )
        self.wide, self.last = nn.Conv1d(8, 24, 1), nn.Conv1d(24, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, 2, 16] -> [B, 1, 16]``."""
        x = self.first(x)
        low = torch.einsum("bik,iok->bok", torch.fft.rfft(x)[:, :, :4], self.mix)
        return self.last(F.gelu(self.wide(x + torch.fft.irfft(low, n=16))))


class Rotary(nn.Module):
    """Attention whose positions are rotations, as complex numbers (Llama)."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out, self.head = nn.Linear(24, 72), nn.Linear(24, 24), nn.Linear(24, 5)
        angles = torch.outer(torch.arange(7.0), 1 / 10 ** torch.arange(3.0))
        self.register_buffer(
            "rotation", torch.polar(torch.ones_like(angles), angles), persistent=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[B, 7, 24] -> [B, 5]``."""
        q, k, v = self.qkv(x).unflatten(-1, (3, -1, 6)).unbind(2)
        q, k = (
            torch.view_as_real(
                torch.view_as_complex(t.unflatten(-1, (3, 2))) * self.rotation[:, None]
            ).flatten(3)
            for t in (q, k)
        )
        y = (torch.einsum("bnhd,bmhd->bhnm", q, k) / math.sqrt(6)).softmax(-1)
        return self.head((x + self.out(torch.einsum("bhnm,bmhd->bnhd", y, v).flatten(2))).mean(1))


class Messages(nn.Module):
    """A graph's nodes ``[N, 6]`` and edges ``[2, E]``: only the first of them has N rows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.message, self.head = nn.Linear(6, 16), nn.Linear(32, 16), nn.Linear(16, 3)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """``[N, 3]``."""
        x = self.first(nodes).relu()
        sent = self.message(torch.cat([x[edges[0]], x[edges[1]]], 1)).relu()
        return self.head(x + torch.zeros_like(x).index_add(0, edges[1], sent))


def _inputs(model: nn.Module) -> tuple[Any, ...]:
    match model:
        case Modulated():
            return torch.randn(4, 3, 8, 8), torch.randn(4, 6)
        case Spectral():
            return (torch.randn(4, 3, 8, 8),)
        case Operator():
            return (torch.randn(4, 2, 16),)
        case Rotary():
            return (torch.randn(4, 7, 24),)
        case _:
            return torch.randn(9, 6), torch.randint(9, (2, 14))


@pytest.mark.parametrize("kind", [Modulated, Spectral, Operator, Rotary, Messages])
def test_an_idiom_is_cut_and_repaired(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = kind().eval()
    data = [_inputs(model) for _ in range(12)]
    exact = gp.compress(model, data[0], flops=0.6)
    assert exact.report.after.macs <= 0.6 * exact.report.before.macs
    assert exact.report.oracle["max_error"] < 1e-9
    assert isinstance(exact.model, kind), exact.report.eager["reason"]
    fitted = gp.compress(model, data[0], flops=0.6, calibration=data, distil=4)
    assert fitted.report.recovery["after"] < fitted.report.recovery["before"]
    assert isinstance(fitted.model, kind)


def test_items_whose_rows_belong_together_stay_whole() -> None:
    torch.manual_seed(0)
    model = Messages().eval()
    data = [(torch.randn(n, 6), torch.randint(n, (2, 14))) for n in (9, 5, 12, 7)]
    result = gp.compress(model, data[0], flops=0.6, calibration=data)
    assert result.report.calibration["samples"] == 4
    assert any("neither joined nor split" in note for note in result.report.notes)


class Memory(nn.Module):
    """Reads a memory by its cosines with queries: it is normalised in one place, and summed in another."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.memory = nn.Linear(8, 24), nn.Parameter(torch.randn(10, 24))
        self.head = nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, 8] -> [B, 4]``."""
        q = self.query(x)
        share = (10 * F.normalize(q, dim=-1) @ F.normalize(self.memory, dim=-1).T).softmax(-1)
        return self.head(torch.cat([q, share @ self.memory], -1))


class Dueling(nn.Module):
    """One value for a state and one for each action (a DQN): a layer's output is stretched in a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.state, self.value, self.action = nn.Linear(8, 32), nn.Linear(32, 1), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, 8] -> [B, 5]``."""
        h = self.state(x).relu()
        a = self.action(h)
        return self.value(h) + a - a.mean(1, keepdim=True)


@pytest.mark.parametrize("kind", [Memory, Dueling])
def test_a_vector_idiom_is_cut_and_repaired(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    data = [(torch.randn(16, 8),) for _ in range(8)]
    result = gp.compress(kind().eval(), data[0], flops=0.6, calibration=data)
    assert result.report.after.macs <= 0.6 * result.report.before.macs
    assert result.report.oracle["max_error"] < 1e-9
    assert result.report.recovery["after"] < result.report.recovery["before"]
