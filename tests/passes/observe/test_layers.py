"""Layers as regressions: matrices of weights, ties, and what a cut leaves of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from graphprune.analysis.analyse import Analysis, analyse
from graphprune.cut.cut import Cut
from graphprune.ir.trace import trace
from graphprune.passes.observe import (
    as_matrix,
    from_matrix,
    kept_channels,
    regression_sizes,
    weights_left_out,
)
from graphprune.passes.observe.find_layers import find_layers
from graphprune.passes.observe.layers import Layer, tied
from tests import nets


def analysed(net: nn.Module, *inputs: Tensor) -> tuple[Analysis, tuple[Layer, ...]]:
    analysis = analyse(trace(net, inputs))
    return analysis, find_layers(analysis.module)


@pytest.mark.parametrize(
    ("size", "groups", "transposed", "matrix"),
    [
        ((8, 6), 1, False, (1, 8, 6)),
        ((8, 6, 3, 5), 1, False, (1, 8, 90)),
        ((8, 2, 3), 4, False, (4, 2, 6)),
        ((8, 2, 3), 4, True, (4, 2, 6)),
        ((6, 8), 1, True, (1, 8, 6)),
    ],
)
def test_a_weight_comes_back_from_its_matrix(
    size: tuple[int, ...], groups: int, matrix: tuple[int, ...], *, transposed: bool
) -> None:
    weight = torch.randn(size)
    found = as_matrix(weight, groups, transposed=transposed)
    assert found.shape == matrix
    assert torch.equal(from_matrix(found, weight.shape, transposed=transposed), weight)


def test_unknowns_are_the_inputs_of_one_output() -> None:
    net = nn.Sequential(
        nn.Conv2d(6, 12, (3, 5), groups=3), nn.ConvTranspose2d(12, 8, 2, groups=4), nn.Flatten()
    )
    _, layers = analysed(net, torch.randn(2, 6, 9, 9))
    assert [regression_sizes(layer) for layer in layers] == [(3, 2 * 15), (4, 3 * 4)]


def test_ties_hold_every_layer_once_in_order() -> None:
    net = nets.CalledTwice()
    _, layers = analysed(net, *net.inputs())
    ties = tied(layers)
    assert max(map(len, ties.values())) == 2
    assert sorted(layer.number for tie in ties.values() for layer in tie) == list(
        range(len(layers))
    )
    assert all(first is tie[0] for first, tie in ties.items())


def test_what_stays_of_a_layer_is_a_mask_of_its_outputs() -> None:
    analysis, (first, last) = analysed(
        nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), torch.randn(2, 4)
    )
    cut = Cut.keeping(analysis, {"0": [1, 4]})
    kept = kept_channels(first, cut)
    assert kept is not None
    assert kept.tolist() == [False, True, False, False, True, False]
    assert kept_channels(last, cut).all()  # type: ignore[union-attr]


class Tokens(nn.Module):
    """A layer at each of the tokens that another layer makes: both axes of its output are cut."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.inner, self.back = nn.Linear(5, 8), nn.Linear(4, 6), nn.Linear(8, 2)
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(self.tokens(x).transpose(1, 2))
        return self.last(self.back(x.transpose(1, 2)).transpose(1, 2))


def test_a_layer_whose_positions_shrink_has_no_mask() -> None:
    analysis, layers = analysed(Tokens(), torch.randn(2, 4, 5))
    inner = next(layer for layer in layers if layer.name == "inner.weight")
    assert kept_channels(inner, Cut.keeping(analysis, {"inner": [0]})) is not None
    assert kept_channels(inner, Cut.keeping(analysis, {"tokens": [0, 3]})) is None


def test_weights_that_lose_inputs_and_are_no_layers_are_named() -> None:
    net = nets.Recurrent()
    analysis, layers = analysed(net, *net.inputs())
    cut = Cut.keeping(analysis, {g.id: range(g.width // 2) for g in analysis.groups})
    names = weights_left_out(cut, [layer.node for layer in layers])
    assert any(name.startswith("lstm.") for name in names)
    assert weights_left_out(Cut.keeping(analysis, {}), [layer.node for layer in layers]) == ()
