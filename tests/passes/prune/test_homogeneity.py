"""Which groups meet a call that doesn't pass a positive scale on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphprune.analysis.analyse import Analysis, analyse
from graphprune.ir.trace import trace
from graphprune.passes.prune.homogeneity import non_homogeneous_groups
from graphprune.passes.score.producers import FilterFinder


class Between(nn.Module):
    """Two layers, and what ``then`` does between them."""

    def __init__(self, then: Callable[[Between, Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.n, self.b = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1)
        nn.init.normal_(self.n.bias)
        self.other, self.then = nn.Conv2d(3, 8, 3), then

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.then(self, x))


def analysed(then: Callable[[Between, Tensor], Tensor]) -> Analysis:
    torch.manual_seed(0)
    return analyse(trace(Between(then).eval(), (torch.randn(2, 3, 8, 8),)))


HOMOGENEOUS: dict[str, Callable[[Between, Tensor], Tensor]] = {
    "nothing": lambda m, x: m.a(x),
    "relu": lambda m, x: m.a(x).relu(),
    "leaky relu": lambda m, x: F.leaky_relu(m.a(x), 0.1),
    "relu in place": lambda m, x: m.a(x).relu_(),
    "pooling": lambda m, x: F.max_pool2d(F.avg_pool2d(m.a(x).relu(), 2), 2),
    "a factor": lambda m, x: 3 * m.a(x).abs(),
    "a gate": lambda m, x: m.a(x) * x.mean((1, 2, 3), keepdim=True),
    "a computed scale": lambda m, x: m.a(x) * m.n.bias.exp()[:, None, None],
    "a computed weight": lambda m, x: F.conv2d(x, m.a.weight.tanh(), m.a.bias),
    "a sum of both": lambda m, x: m.a(x).relu() + m.other(x),
    "reordered": lambda m, x: m.a(x).flip(1).transpose(2, 3),
}

OTHERS: dict[str, Callable[[Between, Tensor], Tensor]] = {
    "gelu": lambda m, x: F.gelu(m.a(x)),
    "sigmoid": lambda m, x: m.a(x).sigmoid(),
    "clamp": lambda m, x: F.relu6(m.a(x)),
    "a constant": lambda m, x: m.a(x) + 1,
    "a sum with another value": lambda m, x: m.a(x) + x.mean((1, 2, 3), keepdim=True),
    "a product": lambda m, x: m.a(x) * m.other(x),
    "a square": lambda m, x: m.a(x).square(),
    "a norm": lambda m, x: m.n(m.a(x).relu()),
}


@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_what_passes_a_scale_on(name: str) -> None:
    assert non_homogeneous_groups(analysed(HOMOGENEOUS[name]), frozenset()) == set()


@pytest.mark.parametrize("name", OTHERS)
def test_what_does_not(name: str) -> None:
    assert non_homogeneous_groups(analysed(OTHERS[name]), frozenset()) == {"a"}


def test_a_norm_that_is_a_part_of_the_layer_is_not_tried() -> None:
    analysis = analysed(lambda m, x: m.n(m.a(x)).relu())
    assert non_homogeneous_groups(analysis, frozenset()) == {"a"}
    assert non_homogeneous_groups(analysis, FilterFinder(analysis).folded) == set()


def test_only_the_groups_that_meet_it_are_named() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(torch.tanh(self.b(torch.relu(self.a(x)))))

    analysis = analyse(trace(Two(), (torch.randn(2, 4),)))
    assert non_homogeneous_groups(analysis, frozenset()) == {"b"}
