"""Units: what makes the channels of a group, BatchNorm folded in."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from graphprune.analysis.groups import Group
from graphprune.passes.score.producers import FilterFinder, gram
from tests.passes.score.networks import Plain, TwoLinears, analysed, images


def found(net: nn.Module, x: Tensor) -> tuple[FilterFinder, dict[str, Group]]:
    analysis, _ = analysed(net, x)
    return FilterFinder(analysis), {group.id: group for group in analysis.groups}


def test_a_unit_computes_what_the_layer_and_its_norm_do() -> None:
    net, x = Plain(), images(4)
    units, groups = found(net, x)
    (unit,), others = units.of(groups["a"])
    patches = nn.functional.unfold(x, 3, padding=1).double()
    got = unit.weights @ patches + unit.biases
    with torch.no_grad():
        expected = net.n(net.a(x)).flatten(2).double()
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert others == []
    assert [str(node.target) for node in units.folded] == ["aten.batch_norm.default"]


def test_other_values_are_used_where_they_are_given() -> None:
    net = TwoLinears()
    units, groups = found(net, torch.randn(4, 5))
    (unit,), _ = units.of(groups["a"], {"a.weight": 2 * net.a.weight})
    torch.testing.assert_close(unit.weights, 2 * net.a.weight.detach().double())
    assert not unit.biases.any()


class Residual(nn.Module):
    """A stream that two layers make, which a vector scales."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.scale = nn.Parameter(torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.c((x + self.b(x)) * self.scale)


def test_every_layer_that_makes_a_stream_is_a_unit_and_the_rest_is_beside() -> None:
    net = Residual()
    units, groups = found(net, torch.randn(4, 5))
    (group,) = groups.values()
    made, others = units.of(group)
    assert [tuple(unit.weights.shape) for unit in made] == [(6, 5), (6, 6)]
    (scale,) = others
    torch.testing.assert_close(scale, net.scale.detach().double()[:, None])
    rows = units.comparable(group)
    assert all(torch.equal(a.weights, b.weights) for a, b in zip(rows, made, strict=True))


class Direct(nn.Module):
    """Channels that no layer makes: those of a stored tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.head = nn.Parameter(torch.randn(3, 6)), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.tokens * x.mean())


def test_where_no_layer_makes_a_group_its_tensors_stand_in() -> None:
    net = Direct()
    units, groups = found(net, torch.randn(4, 5))
    (group,) = groups.values()
    assert units.of(group)[0] == []
    (unit,) = units.comparable(group)
    torch.testing.assert_close(unit.weights, net.tokens.detach().double().T)
    assert not unit.biases.any()


def test_products_of_rows() -> None:
    rows = torch.randn(4, 3, dtype=torch.float64)
    np.testing.assert_allclose(gram(rows), np.array([[a @ b for b in rows] for a in rows]))
