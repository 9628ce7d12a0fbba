"""Which values share memory, and what a call writes into."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphprune.ir import memory
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace

aten = torch.ops.aten


class Shared(nn.Module):
    """Views, an operator that returns its operand, and one that makes a new tensor."""

    def forward(self, x: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        y = x.sin().type_as(like)
        a, b = y.view(-1).split([2, 10])
        return a.add_(1), b.cos()


def test_values_share_memory_with_what_they_are_views_of() -> None:
    graph = unlift(trace(Shared(), (torch.randn(3, 4), torch.randn(3)), dynamic_batch=False)).graph
    (write,) = [node for node in graph.nodes if memory.writes(node)]
    assert {n.name for n in memory.shared_memory(write)} == {
        "add_", "getitem", "split_with_sizes", "view", "type_as", "sin"
    }  # fmt: skip
    (cos,) = graph.find_nodes(op="call_function", target=aten.cos.default)
    assert memory.shared_memory(cos) == {cos}


def test_a_write_into_a_view_may_be_seen_by_others() -> None:
    class Writes(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y, z = x.sin(), x.cos()
            y.view(-1).mul_(2)
            z.add_(1)
            return y, z

    graph = unlift(trace(Writes(), (torch.randn(3, 4),), dynamic_batch=False)).graph
    doubled, raised = (node for node in graph.nodes if memory.writes(node))
    assert [node.name for node in memory.written_operands(doubled)] == ["view"]
    assert memory.writes_into_shared(doubled)
    assert not memory.writes_into_shared(raised)
