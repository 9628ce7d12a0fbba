"""What costs nothing once a network is exported, and how large values are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn

from graphprune.analysis.analyse import analyse
from graphprune.ir.trace import trace
from graphprune.passes.latency.exported import Exported
from tests.passes.latency.helpers import program


class Free(nn.Module):
    """A norm that folds and one that can't, views, casts, dropout, and a weight that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.n = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.m, self.b = nn.BatchNorm2d(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.n(self.a(x)))
        x = torch.sigmoid(self.m(x)).to(torch.float32)
        x = torch.dropout(x, 0.5, False).mean((2, 3)).view(-1, 8)
        return nn.functional.linear(x, self.b.weight * 2, self.b.bias)


@pytest.fixture(scope="module")
def exported() -> Exported:
    return Exported(analyse(trace(Free().eval(), (torch.randn(2, 3, 8, 8),))))


def names(exported: Exported, *, free: bool) -> list[str]:
    calls = exported.analysis.module.graph.find_nodes
    nodes = [n for n in exported.analysis.module.graph.nodes if n.op == "call_function"]
    assert calls(op="placeholder")
    return [str(n.target).split(".")[1] for n in nodes if exported.is_free(n) is free]


def test_what_folds_only_looks_or_is_computed_beforehand_is_free(exported: Exported) -> None:
    costs = names(exported, free=False)
    assert costs == ["conv2d", "relu", "batch_norm", "sigmoid", "mean", "linear"]
    assert {"batch_norm", "view", "mul"} <= set(names(exported, free=True))


def test_a_cast_to_another_type_is_not_free() -> None:
    class Narrowed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.to(torch.float16)

    found = Exported(analyse(trace(Narrowed(), (torch.randn(2, 3),))))
    assert any("to" in name for name in names(found, free=False))


def test_sizes_are_those_of_the_cut_network() -> None:
    analysis = analyse(program())
    found = Exported(analysis)
    nodes: list[fx.Node] = list(analysis.module.graph.nodes)
    weight = next(n for n in nodes if n.target == "first.weight")
    widths = {g.id: i for i, g in enumerate(analysis.groups)}
    cut = [0, 0]
    cut[widths["stem"]], cut[widths["first"]] = 20, 7
    assert [size.at(cut) for size in found.sizes(weight)] == [7, 20, 1, 1]
    assert found.bytes(weight).at(cut) == 4 * 7 * 20
    call = next(n for n in nodes if n.op == "call_function" and weight in n.all_input_nodes)
    assert found.bytes(call).at(cut) == 4 * 7 * 64 * analysis.costs.batch
