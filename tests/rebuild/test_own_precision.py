"""Code that computes with a constant of its dtype, compared in that dtype."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphprune as gp

EPS = "torch.finfo(x.dtype).eps"


class Residual(nn.Module):
    """A stream that stays whole, and a branch that is cut."""

    def __init__(self, norm: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = norm
        self.a = nn.Linear(16, 48, dtype=dtype)
        self.b = nn.Linear(48, 16, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(F.relu(self.a(self.norm(x))))


def by_length(x: Tensor) -> Tensor:
    return x / (x.norm(dim=-1, keepdim=True) + 100 * torch.finfo(x.dtype).eps)


def functional(x: Tensor) -> Tensor:
    return F.rms_norm(x, (16,))


def clipped(x: Tensor) -> Tensor:
    return x.sign() * x.abs().clamp(min=torch.finfo(x.dtype).resolution)


@pytest.mark.parametrize("norm", [nn.RMSNorm(16), functional, by_length, clipped])
@pytest.mark.parametrize("keep_class", [False, True])
def test_a_constant_of_the_dtype_is_no_difference(
    norm: Callable[[Tensor], Tensor], keep_class: bool
) -> None:
    net, inputs = Residual(norm, torch.float32), (torch.randn(4, 16),)
    result = gp.compress(net, inputs, flops=0.5, keep_class=keep_class)
    assert type(result.model) is Residual
    eager = result.report.eager
    assert eager["max_error"] <= eager["tolerance"] <= 1e-4
    assert result.report.after.macs <= 0.5 * result.report.before.macs


def test_the_report_says_in_which_precision_the_class_was_compared() -> None:
    inputs = (torch.randn(4, 16),)
    eagers = [
        gp.compress(Residual(norm, torch.float32), inputs, flops=0.5).report.eager
        for norm in (nn.RMSNorm(16), nn.RMSNorm(16, eps=1e-6))
    ]
    assert [(e["precision"], e["tolerance"]) for e in eagers] == [
        ("float32", 1e-6),
        ("float64", 1e-9),
    ]


class Off(nn.Module):
    """Code that is off by a little at other widths than its own."""

    def __init__(self, by: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.by = by
        self.a, self.b = nn.Linear(16, 48), nn.Linear(48, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.a(x))
        return self.b(y if y.shape[1] == 48 else y * (1 + self.by))


@pytest.mark.parametrize("by", [1e-5, 1e-4, 1e-2])
def test_code_that_is_off_in_its_own_dtype_too_does_not_come_back(by: float) -> None:
    result = gp.compress(Off(by), (torch.randn(4, 16),), flops=0.5)
    assert not result.report.eager["own_class"]
    assert "computes something else" in result.report.eager["reason"]
