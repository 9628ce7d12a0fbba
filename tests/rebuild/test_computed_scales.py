"""Scales that code computes from the sizes of what it scales."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp

Scores = Callable[[Tensor, Tensor], Tensor]


class Attention(nn.Module):
    """One layer of attention whose scores are computed in one of several ways."""

    def __init__(self, scores: Scores, size: int = 8) -> None:
        super().__init__()
        self.scores, self.heads = scores, 4
        self.q, self.k, self.v = (nn.Linear(16, 4 * size) for _ in range(3))
        self.out, self.head = nn.Linear(4 * size, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        y = self.scores(q, k).softmax(-1) @ v
        return self.head((x + self.out(y.transpose(1, 2).flatten(2))).mean(1))


def _power(q: Tensor, k: Tensor) -> Tensor:
    return (q * q.size(-1) ** -0.5) @ k.transpose(-1, -2)


def _root(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])


def _of_a_tensor(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-1, -2) / torch.sqrt(torch.tensor(q.size(-1), dtype=q.dtype))


def _of_a_multiple(q: Tensor, k: Tensor) -> Tensor:
    return (q @ k.transpose(-1, -2)) * (1 / math.sqrt(3 * k.size(-1)))


def _on_both_sides(q: Tensor, k: Tensor) -> Tensor:
    scale = q.size(-1) ** -0.25
    return (q * scale) @ (k * scale).transpose(-1, -2)


def _by_the_size(q: Tensor, k: Tensor) -> Tensor:
    return torch.matmul(q, k.mT) / q.size(-1)


@pytest.mark.parametrize(
    "scores", [_power, _root, _of_a_tensor, _of_a_multiple, _on_both_sides, _by_the_size]
)
@pytest.mark.parametrize("size", [8, 9])
def test_what_is_scaled_takes_over_the_difference(scores: Scores, size: int) -> None:
    torch.manual_seed(0)
    net, x = Attention(scores, size).eval(), (torch.randn(2, 5, 16),)
    result = gp.compress(net, x, flops=0.5, score="random")
    assert type(result.model) is Attention, result.report.eager["reason"]
    assert result.model.q.out_features < result.model.heads * size
    assert not any("left whole" in note for note in result.report.notes)
    average, applied = result.carry(net), gp.apply(result.plan, net, x)
    torch.testing.assert_close(average.eval()(*x), applied.eval()(*x))


class CalledTwice(nn.Module):
    """One attention that is called for each of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Attention(_root)
        self.inner.head = nn.Identity()  # type: ignore[assignment]
        self.last = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        return self.last(y + self.inner(x + y[:, None]))


def test_a_scale_of_a_module_that_is_called_twice_is_taken_over_once() -> None:
    torch.manual_seed(0)
    net, x = CalledTwice().eval(), (torch.randn(2, 5, 16),)
    result = gp.compress(net, x, flops=0.5, score="random")
    assert type(result.model) is CalledTwice, result.report.eager["reason"]
    assert result.model.inner.q.out_features < net.inner.q.out_features
    assert not any("left whole" in note for note in result.report.notes)


class Held(Attention):
    """Its scale is an attribute, or a number in the code, which equals the root of a size."""

    def __init__(self, scale: float | None) -> None:
        super().__init__(lambda q, k: q @ k.mT, 16)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        self.scores = lambda q, k: q @ k.mT * (0.25 if self.scale is None else self.scale)
        return super().forward(x)


@pytest.mark.parametrize("scale", [0.25, None])
def test_a_scale_that_is_held_stays(scale: float | None) -> None:
    torch.manual_seed(0)
    result = gp.compress(Held(scale).eval(), (torch.randn(2, 5, 16),), flops=0.5, score="random")
    assert type(result.model) is Held, result.report.eager["reason"]
    assert result.model.q.out_features < 64
    assert result.model.scale == scale
