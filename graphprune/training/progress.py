"""What is known of a run that prunes while it trains, as a value and as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from graphprune.axes.polynomial import Polynomial
from graphprune.report.text import COSTS

if TYPE_CHECKING:
    from graphprune.plan.plan import Plan

    from .course import Course
    from .live import Live
    from .silent import Silence

__all__ = [
    "SETTLED_DISTANCE",
    "SETTLED_PLANS",
    "BudgetProgress",
    "SparsifyReport",
    "has_settled",
    "report_of",
    "soft_share",
]

SETTLED_DISTANCE = 0.1
"""Largest distance of masks that count as settled (You et al. 2020, Early-Bird Tickets, arXiv:1909.11957, section 3.2)."""

SETTLED_PLANS = 5
"""How many distances in a row must be so small (the same)."""


@dataclass(frozen=True)
class BudgetProgress:
    """How far a cost is on its way to its budget; all are shares of the dense cost.

    Attributes:
        cost: its name.
        bound: what it may be in the end.
        plan: what it is by the plan of the moment.
        soft: what it is if each channel that goes counts for the share of its norm that is left; ``None``
            for costs that aren't counted at soft widths.
    """

    cost: str
    bound: float
    plan: float
    soft: float | None


@dataclass(frozen=True)
class SparsifyReport:
    """How far a run is that prunes while it trains. As text it is a few lines.

    Attributes:
        method: its name.
        step: how many steps were made.
        steps: how many there will be.
        budgets: the costs.
        channels: how many there are.
        going: how many of them the plan of the moment removes.
        dead: how many have a norm of zero.
        norm: share of the norms of all channels that is in those that go.
        distances: shares of the channels in which each plan differs from the one before.
        settled: whether the plan hardly changes any more, or can't.
        note: why layers didn't shrink while training, where the method would have it.
        silence: how many channels never fire, if there are inputs to see it on.
    """

    method: str
    step: int
    steps: int
    budgets: tuple[BudgetProgress, ...]
    channels: int
    going: int
    dead: int
    norm: float
    distances: tuple[float, ...]
    settled: bool
    note: str = ""
    silence: Silence | None = None

    def __str__(self) -> str:
        """Format the report as text."""
        lines = [f"{self.method}, step {self.step} of {self.steps}"]
        for budget in self.budgets:
            soft = "" if budget.soft is None else f", {budget.soft:.1%} at soft widths"
            lines.append(
                f"{COSTS[budget.cost]}: plan {budget.plan:.1%} of dense, bound {budget.bound:.1%}{soft}"
            )
        lines.append(
            f"channels: {self.going} of {self.channels} go, with {self.norm:.1%} of the norm; "
            f"{self.dead} are zero"
        )
        if self.silence is not None:
            lines.append(str(self.silence))
        state = "settled" if self.settled else "open"
        last = f", {self.distances[-1]:.1%} changed last" if self.distances else ""
        lines.append(f"plan: {state}{last}")
        return "\n".join([*lines, *([f"layers stay wide: {self.note}"] if self.note else [])])


def report_of(course: Course) -> SparsifyReport:
    """Report on a run as it is now."""
    live, gone = course.live, course.gone
    norms = live.channels.norms().detach()
    total = float(norms.sum())
    return SparsifyReport(
        method=course.method.name,
        step=course.step,
        steps=course.steps,
        budgets=_budgets(live, course.plan, norms),
        channels=len(norms) + gone,
        going=int(live.going.sum()) + gone,
        dead=int((norms == 0).sum()) + gone,
        norm=float(norms[live.going].sum()) / total if total else 0.0,
        distances=tuple(course.distances),
        settled=course.settled,
        note=course.uncut,
        silence=course.silence,
    )


def _budgets(live: Live, plan: Plan | None, norms: Tensor) -> tuple[BudgetProgress, ...]:
    """Count each cost by the plan of the moment, and at the widths that the norms add up to."""
    analysis, widths = live.planner.analysis, _soft_widths(live, norms)
    polynomials = {"macs": analysis.costs.macs, "params": analysis.costs.params}
    return tuple(
        BudgetProgress(
            cost=status.cost,
            bound=min(1.0, status.bound / status.dense),
            plan=status.reached / status.dense,
            soft=soft_share(polynomials[status.cost], widths, status.dense)
            if status.cost in polynomials
            else None,
        )
        for status in live.planner.reached(plan)
    )


def _soft_widths(live: Live, norms: Tensor) -> list[float]:
    """Count each group's channels, those that go by the share of their norm that is left."""
    analysis = live.planner.analysis
    left = torch.where(norms < live.initial, norms / live.initial, (norms > 0).to(norms))
    weights = torch.where(live.going, left, 1.0).to(live.cost)
    soft = live.channels.means(weights, len(analysis.groups)) if len(norms) else weights
    first = (live.channels.group.diff(prepend=torch.tensor([-1])) > 0).to(soft.device)
    return [s * w for s, w in zip(soft[first].tolist(), analysis.widths.tolist(), strict=True)]


def has_settled(distances: Sequence[float]) -> bool:
    """Whether the last plans were nearly the same (You et al. 2020, Early-Bird Tickets, algorithm 1)."""
    last = distances[-SETTLED_PLANS:]
    return len(last) == SETTLED_PLANS and max(last) < SETTLED_DISTANCE


def soft_share(cost: Polynomial, widths: Sequence[float], dense: float) -> float:
    """Evaluate a cost at widths that aren't whole, as a share of the dense cost."""
    terms: Mapping[tuple[int, ...], float] = cost.terms
    soft = sum(factor * math.prod(widths[g] for g in key) for key, factor in terms.items())
    return soft / (dense or 1.0)
