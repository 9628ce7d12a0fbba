"""Groups, costs and explanations."""

from __future__ import annotations

import sympy
import torch
from torch import Tensor, nn

from graphprune.analysis.analyse import analyse
from graphprune.analysis.frozen import frozen
from graphprune.analysis.why import why
from graphprune.ir.trace import trace
from tests import nets
from tests.analysis.helpers import analysed


def test_costs_are_sympy_expressions_in_the_widths() -> None:
    analysis = analysed(nets.GroupedConv())
    expression = analysis.costs.expression("macs")
    assert isinstance(expression, sympy.Expr)
    dense = dict(zip(analysis.costs.symbols, analysis.widths.tolist(), strict=True))
    assert int(expression.subs(dense)) == analysis.dense_macs


def test_the_coupling_graph_links_groups_and_parameter_axes() -> None:
    graph = analysed(nets.OptionAShortcut()).coupling_graph
    assert set(graph["b"]) == {"b.weight:0", "b.bias:0", "c.weight:1"}


def test_the_model_is_left_as_it_was() -> None:
    net = nets.SqueezeExcite().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    analysed(net)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


class Gram(nn.Module):
    """Products of all channels with each other, each of which a weight reads."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(36, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.b((x[:, :, None] * x[:, None]).flatten(1))


def test_channels_that_meet_in_no_grid_are_frozen_by_the_call_where_they_meet() -> None:
    analysis = analyse(trace(Gram(), (torch.randn(2, 4),)))
    (found,) = (each for each in frozen(analysis) if "b.weight:1" in each.axes)
    assert found.operator.startswith("aten.")
    assert "no regular grid" in found.reason
    assert found.where.startswith("test_analyse.py:")
    assert why(analysis, "a.weight:0")[-1].says == found.reason
