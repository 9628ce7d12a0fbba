"""The analysis as a pass."""

from __future__ import annotations

import pytest

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.errors import (
    UnsupportedOpError,
)
from graphprune.ir.trace import trace
from graphprune.passes import Analyse
from tests import nets


def test_strict_ops_refuses_unknown_operators() -> None:
    net = nets.UnknownOperator()
    with pytest.raises(UnsupportedOpError, match=r"aten\.renorm\.default \(nets\.py:\d+\)"):
        gp.compress(net, net.inputs(), flops=0.5, strict_ops=True)


def run(pass_: Analyse, net: nets.Net) -> Analysis:
    return gp.Pipeline((pass_,)).run(trace(net, net.inputs()))[Analysis]


def test_without_being_strict_an_unknown_operator_only_freezes() -> None:
    found = run(Analyse(), nets.UnknownOperator())
    assert {group.id for group in found.groups} == {"b", "c"}
    assert run(Analyse(strict_ops=True), nets.GroupedConv()).groups


def test_all_operators_without_a_rule_are_named_with_the_option() -> None:
    with pytest.raises(UnsupportedOpError, match=r"aten\.renorm\.default") as caught:
        run(Analyse(strict_ops=True), nets.UnknownOperator())
    assert caught.value.options == ("strict_ops",)
    assert "adding-an-op" in caught.value.hint


def test_statistics_are_cut_through_only_where_asked() -> None:
    held, opened = (run(Analyse(allow_inexact=flag), nets.LayerNormed()) for flag in (False, True))
    assert sum(held.widths) < sum(opened.widths)
    assert (held.inexact == {}, opened.inexact == {}) == (True, False)
