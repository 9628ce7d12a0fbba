"""The search for the smallest network within a drop of accuracy, on made-up curves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from graphprune.errors import InfeasibleBudgetError, OptionError
from graphprune.workflow.accuracy_search import FINEST, Probe, parse_drop, smallest


def search(
    curve: Callable[[float], float],
    max_drop: float,
    *,
    unused: float = 0.0,
    reachable: float = 0.0,
    tell: Callable[[Probe], None] = lambda _: None,
):
    def compress(budget: float) -> float:
        if budget < reachable:
            raise InfeasibleBudgetError("no plan", smallest=reachable)
        return max(budget - unused, reachable)

    return smallest(
        compress, lambda cost: (cost, curve(cost)), dense=0.9, max_drop=max_drop, tell=tell
    )


@pytest.mark.parametrize("edge", [0.05, 0.31, 0.5, 0.77, 0.9])
def test_the_edge_is_found(edge: float) -> None:
    told: list[Probe] = []
    found = search(lambda cost: 0.895 if cost >= edge else 0.5, 0.01, tell=told.append)
    assert edge <= found.made == found.probe.cost <= edge + FINEST
    assert found.probe.holds
    assert found.probe.drop == pytest.approx(0.005)
    assert tuple(told) == found.probes
    assert len(told) <= 8
    assert [p.holds for p in told] == [p.cost >= edge for p in told]  # type: ignore[operator]


def test_a_drop_of_exactly_the_bound_holds() -> None:
    assert search(lambda _: 0.9 - 0.01, 0.01).probe.budget < 0.05
    assert search(lambda _: 0.95, 0.0).probe.budget < 0.05  # better than dense


def test_plans_that_leave_budget_unused_count_by_what_they_cost() -> None:
    found = search(lambda cost: 0.9 if cost >= 0.4 else 0.1, 0.0, unused=0.05)
    assert found.made >= 0.4
    assert found.made == min(p.cost for p in found.probes if p.holds)  # type: ignore[type-var]


def test_budgets_without_a_plan_fail() -> None:
    found = search(lambda _: 0.9, 0.0, reachable=0.6)
    assert 0.6 <= found.made <= 0.6 + FINEST
    assert any(p.cost is None and p.accuracy is None and not p.holds for p in found.probes)


def test_none_holds() -> None:
    with pytest.raises(InfeasibleBudgetError, match=r"at most 1\.00% from 90\.00%") as caught:
        search(lambda _: 0.5, 0.01, reachable=0.6)
    assert 0.6 <= caught.value.smallest < 1


def test_the_smallest_that_was_seen_to_hold_wins_where_accuracy_is_uneven() -> None:
    found = search(lambda cost: 0.9 if 0.45 < cost < 0.6 or 0.2 < cost < 0.3 else 0.1, 0.0)
    holding = [p.cost for p in found.probes if p.holds]
    assert found.made == min(c for c in holding if c is not None)


@pytest.mark.parametrize(
    ("text", "share"), [("1%", 0.01), ("0.01", 0.01), (0.02, 0.02), ("0", 0), (" 0.5% ", 0.005)]
)
def test_drops(text: str | float, share: float) -> None:
    assert parse_drop(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "one", "-1%", "100%", "1", "nan", "1%%"])
def test_what_is_no_drop(text: str) -> None:
    with pytest.raises(OptionError):
        parse_drop(text)
