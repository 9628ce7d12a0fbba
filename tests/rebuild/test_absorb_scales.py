"""Parameters that take over what a cut graph has factors for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.ir.trace import trace
from graphprune.rebuild.absorb_scales import absorb_scales
from tests import nets


@pytest.mark.parametrize("name", ["RmsNormed", "LanguageModel", "GlobalResponseNorm"])
def test_a_class_takes_over_what_makes_up_for_channels_in_a_sum(name: str) -> None:
    torch.manual_seed(0)  # some plans leave heads that the class could not compute
    net = nets.NETS[name]()
    result = gp.compress(net, net.inputs(), flops=0.3, allocate="uniform")
    assert type(result.model) is nets.NETS[name], result.report.eager["reason"]
    assert result.report.inexact == ()


class Gained(nn.Module):
    """A norm with a weight, or without one: then nothing can take a factor over."""

    def __init__(self, *, weight: bool) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)
        self.gain = nn.Parameter(torch.rand(8) + 0.5) if weight else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x)
        x = x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
        return self.b(x if self.gain is None else x * self.gain)


def cut_to(net: nn.Module, keep: int) -> Cut:
    analysis = analyse(trace(net, (torch.randn(2, 4),)))
    return Cut.keeping(analysis, {group.id: range(keep) for group in analysis.groups})


@pytest.mark.parametrize("keep", [2, 5])
def test_the_weight_of_a_norm_takes_over_the_factor_of_its_mean(keep: int) -> None:
    """A mean over fewer channels is larger; the weight behind its inverse root makes up for it."""
    cut = cut_to(Gained(weight=True), keep)
    found = absorb_scales(cut)
    assert found.rows.keys() == {"gain"}
    factors = found.factors("gain", cut)
    expected = math.sqrt(8 / keep)
    assert factors.tolist() == pytest.approx([expected] * keep)
    ((_, old, new),) = found.literals
    assert (old, new) == (1e-6, pytest.approx(1e-6 * 8 / keep))


def test_without_a_weight_nothing_takes_it_over() -> None:
    found = absorb_scales(cut_to(Gained(weight=False), 4))
    assert (found.rows, found.literals) == ({}, [])


def test_where_nothing_is_cut_there_is_nothing_to_take_over() -> None:
    found = absorb_scales(cut_to(Gained(weight=True), 8))
    assert (found.rows, found.literals) == ({}, [])
