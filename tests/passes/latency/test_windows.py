"""Windows of convolutions and poolings, with one number for each axis."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from graphprune.passes.latency.windows import convolution_window, pooling_window, whole_mean


class Calls(nn.Module):
    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


def node_of(call: Callable[[Tensor], Tensor]) -> fx.Node:
    graph = unlift(trace(Calls(call), (torch.randn(2, 3, 8, 8),))).graph
    return next(node for node in graph.nodes if node.op == "call_function")


@pytest.mark.parametrize(
    ("padding", "found"), [("valid", (0, 0, 0, 0)), ("same", (2, 1, 2, 2)), ([1], (1, 1, 1, 1))]
)
def test_paddings_stand_before_and_after_each_axis(
    padding: str | list[int], found: tuple[int, ...]
) -> None:
    call = {"stride": [2], "dilation": [2, 1], "padding": padding}
    window = convolution_window(call, (3, 4))
    assert window == {
        "kernel": (3, 4), "stride": (2, 2), "dilation": (2, 1), "padding": found
    }  # fmt: skip


def test_a_pooling_moves_by_its_size_if_nothing_else_is_said() -> None:
    plain = pooling_window(node_of(lambda x: F.max_pool2d(x, 2)))
    assert plain == {"kernel": (2, 2), "stride": (2, 2), "padding": (0,) * 4, "ceil_mode": (0,)}
    other = pooling_window(node_of(lambda x: F.avg_pool2d(x, 3, (1, 2), 1, ceil_mode=True)))
    assert other == {"kernel": (3, 3), "stride": (1, 2), "padding": (1,) * 4, "ceil_mode": (1,)}
    assert pooling_window(node_of(lambda x: F.max_pool2d(x, 2, dilation=2))) is None
    graph = unlift(trace(Calls(lambda x: F.max_pool2d(x, 2)), (torch.randn(3, 8, 8),))).graph
    (one,) = graph.find_nodes(op="call_function", target=torch.ops.aten.max_pool2d.default)
    assert pooling_window(one) is None


@pytest.mark.parametrize(
    ("call", "whole"),
    [
        (lambda x: x.mean((2, 3)), True),
        (lambda x: x.mean((-1, 2)), True),
        (lambda x: x.mean(1), False),
        (lambda x: F.adaptive_avg_pool2d(x, 1), True),
        (lambda x: F.adaptive_avg_pool2d(x, 2), False),
    ],
)
def test_a_mean_over_an_image_is_over_all_of_it(
    call: Callable[[Tensor], Tensor], whole: bool
) -> None:
    assert (whole_mean(node_of(call)) is not None) == whole
