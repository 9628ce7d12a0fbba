"""Readers can do without channels as far as their weights can take them over."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphprune.analysis.analyse import analyse
from graphprune.passes.lossless.propagate import find_relations
from graphprune.passes.lossless.readers import Reader, Readers

from .helpers import program


def readers(net: nn.Module, shape: tuple[int, ...] = (2, 3, 8, 8)) -> tuple[Readers, list[Reader]]:
    analysis = analyse(program(net, torch.randn(shape)))
    finder = Readers(analysis, find_relations(analysis))
    return finder, finder.of(analysis.groups[0], several=False)


def net_reading(reader: nn.Module, *, constant: float = 2.0) -> nn.Sequential:
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), reader)
    with torch.no_grad():
        net[0].weight[1:3] = 0
        net[0].bias[1:3] = torch.tensor([constant, 3 * constant])
    return net


@pytest.mark.parametrize(
    ("reader", "spared"),
    [
        (nn.Conv2d(6, 4, 3), [1, 2]),
        (nn.Conv2d(6, 4, 3, padding=1, padding_mode="replicate"), [1, 2]),
        (nn.Conv2d(6, 4, 3, padding=1), [2]),
        (nn.Conv2d(6, 4, 1, padding=1), [2]),
        (nn.Conv2d(6, 4, 3, bias=False), [2]),
        (nn.ConvTranspose2d(6, 4, 1), [1, 2]),
        (nn.ConvTranspose2d(6, 4, 3, stride=2), [2]),
    ],
)
def test_constants_fold_where_all_positions_see_the_same(
    reader: nn.Module, spared: list[int]
) -> None:
    _, found = readers(net_reading(reader))
    assert [each.spared.tolist() for each in found] == [spared]


def test_zero_needs_no_bias() -> None:
    _, found = readers(net_reading(nn.Conv2d(6, 4, 3, padding=1, bias=False), constant=-1.0))
    assert found[0].spared.tolist() == [1, 2]


def test_columns_are_added_and_zeroed() -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    with torch.no_grad():
        net[0].weight[3], net[0].bias[3] = 2 * net[0].weight[1], 2 * net[0].bias[1]
        net[0].weight[0], net[0].bias[0] = 0, 4.0
    finder, found = readers(net, (2, 4))
    changed: dict[str, torch.Tensor] = {}
    finder.fold(found[0], found[0].spared, changed)
    weight = net[2].weight.double()
    assert changed["2.weight"][:, [0, 3]].abs().max() == 0
    torch.testing.assert_close(changed["2.weight"][:, 1], weight[:, 1] + 2 * weight[:, 3])
    torch.testing.assert_close(changed["2.bias"], net[2].bias.double() + 4 * weight[:, 0])
    assert set(changed) == {"2.weight", "2.bias"}
    partly: dict[str, torch.Tensor] = {}
    finder.fold(found[0], found[0].spared[1:], partly)
    torch.testing.assert_close(partly["2.weight"][:, 0], weight[:, 0])


def test_zero_columns_are_unread() -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    with torch.no_grad():
        net[2].weight[:, 2] = 0
    _, found = readers(net, (2, 4))
    assert found[0].unread.tolist() == found[0].spared.tolist() == [2]
