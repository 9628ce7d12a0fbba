"""Budgets that are met, and plans with their costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.analysis.analyse import analyse
from graphprune.ir.program import fingerprint
from graphprune.ir.trace import trace
from graphprune.passes.decision import ROUNDING, BudgetStatus, make_plan
from graphprune.plan.plan import Plan
from tests import nets
from tests.analysis.helpers import analysed


@given(st.floats(1e-6, 1e12), st.floats(0.5, 1.5))
def test_a_budget_is_met_up_to_rounding(bound: float, share: float) -> None:
    met = BudgetStatus("macs", 0.5, 2 * bound, bound, bound * share)
    if abs(share - 1) > 1e-6:
        assert met.met == (share <= 1)
    assert BudgetStatus("macs", 0.5, 2 * bound, bound, bound * ROUNDING).met
    assert not BudgetStatus("macs", 0.5, 2 * bound, bound, bound * (1 + 1e-6)).met


def test_a_plan_holds_every_group_with_its_axes_and_costs() -> None:
    analysis = analysed(nets.OptionAShortcut())
    plan = make_plan(analysis, {"b": (0, 5)}, {"macs": 0.5}, {"latency": 7.0, "macs": -1.0})
    whole = {group.id: tuple(range(group.width)) for group in analysis.groups}
    assert plan.keep == whole | {"b": (0, 5)}
    widths = [len(kept) for kept in plan.keep.values()]
    assert plan.groups[1].axes == ("b.weight:0", "b.bias:0", "c.weight:1")
    assert plan.fingerprint == fingerprint(analysis.module)
    assert plan.budget == {"macs": 0.5}
    costs = analysis.costs
    assert plan.predicted == {
        "latency": 7.0,
        "macs": costs.macs.at(widths),
        "params": costs.params.at(widths),
    }
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("allow_inexact", [False, True])
def test_only_a_plan_that_may_cut_through_statistics_says_so(*, allow_inexact: bool) -> None:
    net = nets.HELD["LayerNormed"]()
    analysis = analyse(trace(net, net.inputs()), allow_inexact=allow_inexact)
    assert make_plan(analysis, {}, {}).allow_inexact is allow_inexact
