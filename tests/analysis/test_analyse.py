"""Groups, costs and explanations."""

from __future__ import annotations

import pytest
import sympy
import torch

from graphprune.analysis.analyse import analyse
from graphprune.analysis.frozen import frozen, unknown_operators
from graphprune.analysis.why import why
from graphprune.errors import OptionError
from graphprune.ir.trace import trace
from tests import nets


def analysed(net: nets.Net):
    return analyse(trace(net, net.inputs()))


def test_costs_are_sympy_expressions_in_the_widths() -> None:
    analysis = analysed(nets.GroupedConv())
    expression = analysis.costs.expression("macs")
    assert isinstance(expression, sympy.Expr)
    dense = dict(zip(analysis.costs.symbols, analysis.widths.tolist(), strict=True))
    assert int(expression.subs(dense)) == analysis.dense_macs


def test_groups_are_named_after_the_layer_that_makes_them() -> None:
    analysis = analysed(nets.OptionAShortcut())
    assert [g.id for g in analysis.groups] == ["a", "b", "c"]


def test_the_coupling_graph_links_groups_and_parameter_axes() -> None:
    graph = analysed(nets.OptionAShortcut()).coupling_graph
    assert set(graph["b"]) == {"b.weight:0", "b.bias:0", "c.weight:1"}


def test_an_unknown_operator_freezes_what_it_touches_and_is_named_with_its_cost() -> None:
    net = nets.UnknownOperator()
    analysis = analysed(net)
    assert [str(n.target) for n in unknown_operators(analysis)] == ["aten.renorm.default"]
    entry = next(f for f in frozen(analysis) if f.unknown)
    assert entry.operator == "aten.renorm.default"
    assert entry.where.startswith("nets.py:")
    assert set(entry.axes) == {"a.weight:0", "b.weight:1"}
    assert entry.channels == 32
    a, b = 64 * 9 * 3 * 16, 64 * 9 * 16 * 16
    assert entry.macs_share == (a + b) / analysis.dense_macs
    assert {g.id for g in analysis.groups} == {"b", "c"}


def test_why_gives_the_chain_of_calls_with_their_lines() -> None:
    analysis = analysed(nets.OptionAShortcut())
    operators = [step.operator for step in why(analysis, "b")]
    assert "aten.conv2d.default" in operators
    assert all(step.where.startswith("nets.py:") for step in why(analysis, "b"))
    (*_, last) = why(analysis, "a.weight:1")
    assert last.says == "model input x"
    held = why(analysed(nets.UnknownOperator()), "b.weight:1")
    assert [step.operator for step in held] == ["aten.conv2d.default", "aten.renorm.default"]
    assert held[-1].says == "no rule for aten.renorm.default"
    with pytest.raises(OptionError):
        why(analysis, "nothing")


def test_inputs_and_outputs_are_frozen_with_their_reason() -> None:
    reasons = {f.reason for f in frozen(analysed(nets.GroupedConv()))}
    assert reasons == {"model input x", "model output"}


def test_the_model_is_left_as_it_was() -> None:
    net = nets.SqueezeExcite().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    analysed(net)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
