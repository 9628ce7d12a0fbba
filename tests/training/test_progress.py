"""The report of a run, as a value and as text."""

from __future__ import annotations

import pytest

from graphprune.axes.polynomial import Polynomial
from graphprune.training.progress import BudgetProgress, SparsifyReport, has_settled, soft_share

from .loop import Run


def test_plans_have_settled_when_five_in_a_row_hardly_differ() -> None:
    assert has_settled([0.5, 0.0, 0.09, 0.05, 0.0, 0.01])
    assert not has_settled([0.0, 0.0, 0.0, 0.0])
    assert not has_settled([0.0, 0.0, 0.1, 0.0, 0.0])


def test_costs_at_soft_widths_are_those_of_the_polynomial() -> None:
    cost = Polynomial({(): 10.0, (0,): 2.0, (0, 1): 1.0})
    assert soft_share(cost, [2.5, 4.0], 10 + 10 + 40) == pytest.approx(
        (10 + 5 + 10) / (10 + 10 + 40)
    )


def test_the_text_says_what_the_fields_do() -> None:
    budgets = (BudgetProgress("macs", 0.5, 0.49, 0.75), BudgetProgress("latency", 0.6, 0.58, None))
    text = str(
        SparsifyReport("gradual", 3, 9, budgets, 40, 12, 2, 0.25, (0.5, 0.125), settled=False)
    )
    assert text.splitlines() == [
        "gradual, step 3 of 9",
        "MACs: plan 49.0% of dense, bound 50.0%, 75.0% at soft widths",
        "latency (us): plan 58.0% of dense, bound 60.0%",
        "channels: 12 of 40 go, with 25.0% of the norm; 2 are zero",
        "plan: open, 12.5% changed last",
    ]


def test_soft_costs_go_from_the_dense_ones_to_those_of_the_plan() -> None:
    run = Run.of("mask-sparsity")
    assert run.sparsify is not None
    (first,) = run.sparsify.report().budgets
    assert first.soft == pytest.approx(1.0)
    half = run.go(12).sparsify.report().budgets[0].soft  # type: ignore[union-attr]
    (last,) = run.go(28).sparsify.report().budgets  # type: ignore[union-attr]
    assert half is not None
    assert first.plan < half < 1.0
    assert last.soft == pytest.approx(last.plan)


def test_channels_at_zero_count_for_nothing_at_soft_widths() -> None:
    """Also after a plan that was made when they were zero already."""
    run = Run.of("gradual").go(30)
    assert run.sparsify is not None
    (budget,) = run.sparsify.report().budgets
    assert budget.soft == pytest.approx(budget.plan)
