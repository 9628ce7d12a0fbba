"""What can't be cut, with its reason, its place and its cost."""

from __future__ import annotations

from graphprune.analysis.frozen import coupling_classes, frozen, operator_of, unknown_operators
from graphprune.axes.labels import Labels
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


def test_what_is_coupled_only_by_what_froze_it_stays_apart() -> None:
    labels = Labels()
    one, two, three = (labels.fresh(2) for _ in range(3))
    labels.unite(one[:, 0], two[:, 0], 1)
    labels.freeze(two, 2)
    labels.freeze(three, 3)
    classes = coupling_classes(labels)
    assert classes[one[:, 0]].tolist() == classes[two[:, 0]].tolist()
    assert not set(classes[one[:, 0]].tolist()) & set(classes[three[:, 0]].tolist())
    assert 0 not in classes[three[:, 0]]


def test_the_largest_share_comes_first_and_none_is_more_than_all() -> None:
    found = frozen(analysed(nets.UnknownOperator()))
    shares = [each.macs_share for each in found]
    assert shares == sorted(shares, reverse=True)
    assert all(0 < share <= 1 for share in shares)


def test_a_statistic_says_what_would_open_it() -> None:
    net = nets.HELD["LayerNormed"]()
    (entry,) = (f for f in frozen(analysed(net)) if f.reason.startswith("mix: "))
    assert "layer_norm" in entry.operator
    assert "allow_inexact" in entry.reason
    assert not entry.unknown


def test_a_node_is_named_by_what_it_calls() -> None:
    analysis = analysed(nets.GroupedConv())
    names = [operator_of(node) for node in analysis.module.graph.nodes]
    assert "aten.conv2d.default" in names
    assert names[-1] == "output"
    assert {"placeholder", "get_attr"} <= set(names)
