"""Errors for budgets that no plan meets: they name what is frozen, and which options stand in the way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.frozen import frozen, reason_of
from graphprune.errors import InfeasibleBudgetError
from graphprune.ir.nodes import source_line
from graphprune.passes.decision import BudgetStatus
from graphprune.report.text import few

from .width_limits import Limits

__all__ = ["infeasible", "jointly_infeasible"]


def infeasible(
    analysis: Analysis, asked: BudgetStatus, smallest: float, limits: Limits
) -> InfeasibleBudgetError:
    """Make the error for a budget that no choice of widths meets, even alone.

    Args:
        analysis: of the dense program; what is frozen in it is named.
        asked: the budget.
        smallest: the least cost of any choice, in the budget's unit.
        limits: limits on the widths; those that could be relaxed are named.
    """
    reasons = "; ".join(
        f"{f.reason} ({f.where or f.operator}): {f.channels} channels in {few(f.axes)}"
        for f in frozen(analysis)[:5]
    )
    if not reasons:  # what costs lies within calls, where no channels are seen
        costly = [node for node, facts in analysis.facts.items() if facts.macs]
        named = (f"{reason_of(analysis, n)} ({source_line(n)})" for n in costly[:5])
        reasons = "; ".join(named)
    return InfeasibleBudgetError(
        f"{asked.cost} {asked.bound:.6g} can't be reached: the smallest is {smallest:.6g}, "
        f"{smallest / asked.dense:.4f} of dense ({asked.dense:.6g})",
        smallest=smallest,
        hint=f"{limits.hint()}{_unit(asked)}frozen: {reasons or 'nothing'}",
        options=tuple(limits.relaxable),
    )


def _unit(asked: BudgetStatus) -> str:
    """Say how a share is written, where the budget looks as if it was meant as a percentage."""
    return "amounts above 1 are absolute, a share is 0.5 or 50%; " if 1 < asked.asked <= 100 else ""


def jointly_infeasible(
    asked: Sequence[BudgetStatus],
    numbers: Sequence[int],
    ratios: NDArray[np.float64],
    limits: Limits,
) -> InfeasibleBudgetError:
    """Make the error for budgets that can be met one by one, but not together.

    Args:
        asked: the budgets.
        numbers: the budget that each sum of costs belongs to; the peak of memory is several sums.
        ratios: each sum over its bound, in the nearest plan.
        limits: limits on the widths; those that could be relaxed are named.
    """
    worst = [
        max(float(r) for n, r in zip(numbers, ratios, strict=True) if n == number)
        for number in range(len(asked))
    ]
    near = ", ".join(
        f"{a.cost} {r * a.bound:.6g} where {a.bound:.6g} was asked"
        for a, r in zip(asked, worst, strict=True)
    )
    return InfeasibleBudgetError(
        f"these budgets can't be met together; the nearest plan found has {near}",
        smallest=max(worst),
        hint=f"{limits.hint()}raise a budget",
        options=tuple(limits.relaxable),
    )
