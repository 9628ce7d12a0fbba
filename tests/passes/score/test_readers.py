"""Which layers count as readers of a group, and which only compute factors for its channels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from graphprune.passes.score import count_readers
from tests import nets
from tests.analysis.helpers import analysed


class Scaled(nn.Module):
    """A convolution that two others read, one of them what ``scale`` makes of it."""

    def __init__(self, scale: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.few = nn.Conv2d(8, 4, 1)
        self.many = nn.Conv2d(4, 8, 1)
        self.other = nn.Conv2d(3, 8, 1)
        self.b = nn.Conv2d(8, 5, 1)
        self.c = nn.Conv2d(8, 5, 1)
        self.scale = scale

    def inputs(self) -> tuple[Tensor]:
        return (torch.randn(2, 3, 8, 8),)

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        y = torch.relu(self.a(x))
        return self.b(self.scale(self, y)) + self.c(y)


def gate(net: nn.Module, x: Tensor) -> Tensor:
    return torch.sigmoid(net.many(torch.relu(net.few(x))))


def squeezed(net: nn.Module, x: Tensor) -> Tensor:
    return x * gate(net, x.mean((2, 3), keepdim=True))


def by_position(net: nn.Module, x: Tensor) -> Tensor:
    """Scale positions, as in spatial attention."""
    return torch.sigmoid(net.few(x).amax(1, keepdim=True)) * x


def highway(net: nn.Module, x: Tensor) -> Tensor:
    """Mix a value with one that is added to it, so that both are one group."""
    share, new = gate(net, x), net.other(net.x)
    return x * (1 - share) + new * share


def added_too(net: nn.Module, x: Tensor) -> Tensor:
    """Use the factor beside the product."""
    found = gate(net, x)
    return x * found + found


def of_another(net: nn.Module, x: Tensor) -> Tensor:
    """Read one value to scale another, which is what the layer behind reads."""
    return net.other(net.x) * net.few(x).mean(1, keepdim=True)


def squared(net: nn.Module, x: Tensor) -> Tensor:
    """Multiply two values that the same layer has a part in."""
    found = gate(net, x)
    return found * torch.tanh(found)


def readers(scale: Callable[[nn.Module, Tensor], Tensor]) -> int:
    analysis = analysed(Scaled(scale))
    (group,) = (g for g in analysis.groups if any(o.tensor == "a.weight" for o in g.occurrences))
    return count_readers(analysis)[group.id]


def test_readers_are_the_calls_that_sum_over_a_group() -> None:
    """The stream of a residual network is read by each block and by the head."""
    analysis = analysed(nets.NormedResidual())
    assert count_readers(analysis) == {"a": 2, "b": 1}
    called = analysed(nets.CalledTwice())
    assert all(count >= 1 for count in count_readers(called).values())


@pytest.mark.parametrize("scale", [squeezed, by_position, highway])
def test_what_only_scales_the_channels_that_it_reads_is_no_reader(
    scale: Callable[[nn.Module, Tensor], Tensor],
) -> None:
    assert readers(scale) == 2


@pytest.mark.parametrize(("scale", "count"), [(added_too, 3), (of_another, 2), (squared, 2)])
def test_factors_that_do_more_count(
    scale: Callable[[nn.Module, Tensor], Tensor], count: int
) -> None:
    """``b`` reads something else in the last two."""
    assert readers(scale) == count
