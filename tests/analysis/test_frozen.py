"""What can't be cut, with its reason, its place and its cost."""

from __future__ import annotations

from graphprune.analysis.frozen import frozen, unknown_operators
from tests import nets
from tests.analysis.helpers import analysed


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


def test_inputs_and_outputs_are_frozen_with_their_reason() -> None:
    reasons = {f.reason for f in frozen(analysed(nets.GroupedConv()))}
    assert reasons == {"model input x", "model output"}
