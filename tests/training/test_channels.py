"""Norms of channels, held against sums over rows picked by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.training.channels import Channels
from tests import nets

from .loop import data, net

EXACT = 1e-12
"""Sums in another order, float64."""


def channels(model: nn.Module) -> Channels:
    return Channels.of(gp.inspect(model, (data()[0][:2],)))


def by_hand(model: nn.Module, names: dict[str, int], width: int) -> torch.Tensor:
    """Norms of a group that lies in parameters row by row: name -> axis."""
    tensors = dict(model.named_parameters())
    return sum(
        (tensors[n].movedim(d, 0).reshape(width, -1).square().sum(1) for n, d in names.items()),
        start=torch.zeros(width, dtype=torch.float64),
    ).sqrt()


def test_norms_are_over_all_rows_that_are_coupled() -> None:
    model = net()
    stream = {
        "stem.weight": 0, "stem.bias": 0, "norm.weight": 0, "norm.bias": 0,
        "up.weight": 1, "down.weight": 0, "down.bias": 0, "head.weight": 1,
    }  # fmt: skip
    inner = {"up.weight": 0, "up.bias": 0, "down.weight": 1}
    want = torch.cat([by_hand(model, stream, 12), by_hand(model, inner, 24)])
    torch.testing.assert_close(channels(model).norms(), want, atol=EXACT, rtol=EXACT)


def test_disjoint_norms_count_each_element_once() -> None:
    model = net()
    found = channels(model).norms(disjoint=True)
    counted = {n: p for n, p in model.named_parameters() if n != "head.bias"}
    whole = sum(p.square().sum() for p in counted.values())
    torch.testing.assert_close(found.square().sum(), whole, atol=EXACT, rtol=EXACT)


def test_rows_that_are_repeated_belong_to_their_channel() -> None:
    """Flattened images: 4 rows of the head for each channel."""
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.Flatten(), nn.Linear(5 * 36, 4)
    ).double()
    head = model[2].weight.reshape(4, 5, 36).movedim(1, 0)
    conv = torch.cat([model[0].weight.reshape(5, -1), model[0].bias[:, None]], 1)
    want = torch.cat([head.reshape(5, -1), conv], 1).norm(dim=1)
    torch.testing.assert_close(channels(model).norms(), want, atol=EXACT, rtol=EXACT)


def test_gradients_reach_the_live_parameters_and_are_finite_at_zero() -> None:
    model = net()
    found = channels(model)
    found.scale(torch.tensor([0.0] * 3 + [1.0] * 33, dtype=torch.float64))
    norms = found.norms()
    assert (norms[:3] == 0).all()
    assert (norms[3:] > 0).all()
    norms.sum().backward()
    grads = [p.grad for n, p in model.named_parameters() if n != "head.bias"]
    assert all(g is not None and g.isfinite().all() for g in grads)
    assert model.stem.weight.grad is not None
    assert (model.stem.weight.grad[:3] == 0).all()
    assert (model.stem.weight.grad[3:] != 0).any()


def test_scaling_multiplies_the_norms() -> None:
    found = channels(net())
    factors = torch.ones(36, dtype=torch.float64)
    factors[5], factors[20] = 0.25, 0.0
    before = found.norms(disjoint=True).detach()
    found.scale(factors, disjoint=True)
    torch.testing.assert_close(found.norms(disjoint=True), factors * before, atol=EXACT, rtol=EXACT)


def test_an_element_of_two_channels_is_scaled_by_both() -> None:
    model = net()
    before = model.up.weight.detach().clone()
    channels(model).scale(torch.full((36,), 0.5, dtype=torch.float64))
    torch.testing.assert_close(model.up.weight.detach(), before / 4, atol=EXACT, rtol=EXACT)


def test_what_is_frozen_by_the_user_is_not_touched() -> None:
    model = net()
    model.stem.requires_grad_(False)
    before = model.stem.weight.clone()
    found = channels(model)
    assert all(place.parameter is not model.stem.weight for place in found.places)
    found.scale(torch.zeros(36, dtype=torch.float64))
    assert torch.equal(model.stem.weight, before)
    assert (model.up.weight == 0).all()


@pytest.mark.parametrize(
    "name", ["OptionAShortcut", "GroupedConv", "TiedWeights", "Reparametrised", "Recurrent"]
)
def test_other_structures_have_a_norm_for_each_channel(name: str) -> None:
    model = nets.NETS[name]()
    analysis = gp.inspect(model, model.inputs())
    found = Channels.of(analysis)
    assert len(found.norms()) == len(found) == sum(g.width for g in analysis.groups)
    assert (found.norms() > 0).all()


def test_means_and_spread_are_by_group() -> None:
    found = channels(net())
    assert found.spread([1.0, 3.0]).tolist() == [1.0] * 12 + [3.0] * 24
    values = torch.arange(36, dtype=torch.float64)
    assert found.means(values, 2).tolist() == [5.5] * 12 + [23.5] * 24


def test_half_precision_is_summed_in_single() -> None:
    model = net().bfloat16()
    places = Channels.of(gp.inspect(model, (data()[0][:2].bfloat16(),)))
    assert places.dtype == torch.float32
    want = channels(net()).norms()
    torch.testing.assert_close(places.norms(), want, atol=0.02, rtol=0.02)  # 8 bits
