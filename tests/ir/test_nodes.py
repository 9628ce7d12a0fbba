"""What a call says of itself: its arguments by name, its results, its place in the user's code."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from graphprune.ir import nodes
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace

aten = torch.ops.aten


class Small(nn.Module):
    """A convolution, a mask and an integer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.conv(x)
        return y.flatten(1), y[y > 0], y.argmax(1)


@pytest.fixture(scope="module")
def graph() -> fx.Graph:
    return unlift(trace(Small(), (torch.randn(2, 3, 6, 6),))).graph


def call(graph: fx.Graph, target: Any) -> fx.Node:
    return graph.find_nodes(op="call_function", target=target)[0]


def test_arguments_have_names_and_defaults(graph: fx.Graph) -> None:
    conv = call(graph, aten.conv2d.default)
    found = nodes.bind(conv)
    assert (found["padding"], found["groups"], found["dilation"]) == ([1, 1], 1, [1, 1])
    given = nodes.arguments(conv, lambda node: node.name)
    assert "groups" not in given
    assert given["weight"] == "conv_weight"


def test_arguments_that_were_taken_apart_are_put_where_they_were(graph: fx.Graph) -> None:
    conv = call(graph, aten.conv2d.default)
    args, kwargs = nodes.split_arguments(conv, nodes.arguments(conv, lambda node: node))
    assert args == tuple(conv.args)
    assert kwargs == conv.kwargs


def test_an_argument_is_set_by_position_or_by_name() -> None:
    graph = fx.Graph()
    x, y = graph.placeholder("x"), graph.placeholder("y")
    first = graph.call_function(aten.sum.dim_IntList, (x, [0]))
    nodes.set_argument(first, "self", y)
    nodes.set_argument(first, "keepdim", x)
    assert first.args == (y, [0])
    assert first.kwargs == {"keepdim": x}


def test_a_call_is_evaluated_on_other_values() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    node = graph.call_function(aten.add.Tensor, (x, x), {"alpha": 3})
    assert nodes.evaluate(node, {x: torch.tensor(2.0)}.__getitem__) == 8


def test_results_that_can_be_compared(graph: fx.Graph) -> None:
    conv, masked = call(graph, aten.conv2d.default), call(graph, aten.index.Tensor)
    found = [nodes.is_comparable(n) for n in (conv, masked, call(graph, aten.argmax.default), 3)]
    assert found == [True, False, False, False]
    kinds = (torch.float16, torch.complex64, torch.int64, torch.bool)
    values = [torch.zeros(1, dtype=kind) for kind in kinds]
    assert [*map(nodes.is_continuous, values)] == [True, True, False, False]
    assert not nodes.is_continuous(1.0)


@pytest.mark.parametrize(
    ("trace", "line"),
    [
        ('File "/home/me/net.py", line 7, in forward', "net.py:7"),
        (
            'File "C:\\me\\net.py", line 7, in f\nFile "/x/torch/nn/functional.py", line 9, in g',
            "net.py:7",
        ),
        ('File "/x/timm/layers/a.py", line 3, in forward', "a.py:3"),
        ("", ""),
        (None, ""),
    ],
)
def test_the_line_is_the_users_own_where_there_is_one(trace: str | None, line: str) -> None:
    node = fx.Graph().placeholder("x")
    node.meta["stack_trace"] = trace
    assert nodes.source_line(node) == line


def test_a_traced_call_names_this_file(graph: fx.Graph) -> None:
    assert nodes.source_line(call(graph, aten.conv2d.default)).startswith("test_nodes.py:")
