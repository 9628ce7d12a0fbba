"""Views that are written into: they stay views after a cut."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.analysis.written_later import written_later
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace


class Views(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x.sin()
        y.relu_()
        odd = y[:, 1::2]
        even = nn.functional.dropout(y[:, ::2], training=False)
        even.mul_(2)
        return odd + even.cos()


def test_a_value_is_written_through_any_view_of_it_but_not_before_it_is_made() -> None:
    graph = unlift(trace(Views(), (torch.randn(2, 6),))).graph
    found = written_later(tuple(graph.nodes))
    targets = [
        str(n.target).split(".")[1] for n in graph.nodes if n in found and n.op != "placeholder"
    ]
    assert targets == ["sin", "relu_", *["slice"] * 4, "dropout"]
    assert written_later(()) == frozenset()


class Written(nn.Module):
    """Channels of which every second or third is changed where it lies."""

    def __init__(self, write: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.first, self.last, self.write = nn.Linear(6, 26), nn.Linear(26, 3), write

    def forward(self, x: Tensor) -> Tensor:
        """``[B, 6] -> [B, 3]``."""
        x = self.first(x).clone()
        self.write(x)
        return self.last(x)


def add_to_even(x: Tensor) -> None:
    x[..., ::2] += 1


def rotate(x: Tensor) -> None:
    left, right = x[:, ::2].clone(), x[:, 1::2].clone()
    x[:, ::2], x[:, 1::2] = left - right, right + left


def view_then_base(x: Tensor) -> None:
    picked = x[:, 4:20:3]
    x.mul_(2)
    picked.sub_(1)


@pytest.mark.parametrize(
    ("write", "widths"), [(add_to_even, [13]), (rotate, [13]), (view_then_base, [8, 6])]
)
def test_what_is_written_through_a_strided_view_is_cut_in_whole_steps(
    write: Callable[[Tensor], None], widths: list[int]
) -> None:
    torch.manual_seed(0)
    result = gp.compress(Written(write), (torch.randn(4, 6),), flops=0.5, any_width=True)
    assert [group.width for group in result.plan.groups] == widths
    assert result.report.oracle["max_error"] < 1e-9
