"""Rows that mustn't be zero: what weights are divided by."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import graphprune as gp
from graphprune.training.shrinkable import unshrinkable
from tests import nets

from .loop import Run, data, net


def names(model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> set[tuple[str, int]]:
    found = unshrinkable(gp.inspect(model, inputs))
    return {(n, d) for n, p in model.named_parameters() for d in range(4) if (id(p), d) in found}


def test_plain_weights_may_be_zero() -> None:
    assert not names(net(), (data()[0][:2],))


def test_weight_norm_divides_by_the_norm_of_its_rows() -> None:
    """Its magnitudes may be zero, and so may columns."""
    model = nets.NETS["Reparametrised"]()
    want = {(f"{layer}.parametrizations.weight.original1", 0) for layer in "ab"}
    assert names(model, model.inputs()) == want


class BySquareRoot(nn.Module):
    """Standardised by a root that has no slope at zero; torch's ``std`` has one."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        w = self.a.weight
        w = w / (w.var((1, 2, 3), keepdim=True).sqrt() + 1e-5)
        return self.head(nn.functional.conv2d(x, w, self.a.bias).relu().mean((2, 3)))


def test_weights_without_a_gradient_at_zero_are_found() -> None:
    assert names(BySquareRoot(), (torch.randn(2, 3, 6, 6),)) == {("a.weight", 0)}


def test_standardised_weights_may_be_zero_where_they_have_a_gradient() -> None:
    model = nets.NETS["WeightStandardised"]()
    assert not names(model, model.inputs())


def test_low_rank_weights_may_be_zero() -> None:
    model = nets.NETS["LowRank"]()
    assert not names(model, model.inputs())


@pytest.mark.parametrize("method", ["mask-sparsity", "gradual"])
def test_a_network_with_weight_norm_stays_finite_and_is_cut_as_it_was(method: str) -> None:
    model = net()
    parametrizations.weight_norm(model.up)
    parametrizations.weight_norm(model.stem)
    run = Run.of(method, model).go(48)
    assert run.sparsify is not None
    model.eval()
    x = data()[0]
    small = run.sparsify.finish().model.eval()
    # the same function, in float64
    torch.testing.assert_close(small(x), model(x), atol=1e-9, rtol=1e-9)
