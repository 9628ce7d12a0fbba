"""Groups, costs and explanations."""

from __future__ import annotations

import sympy
import torch

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
