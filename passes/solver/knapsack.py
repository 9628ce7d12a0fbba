"""Start points from a knapsack on the linearised cost.

With the cost linearised around a point, groups no longer interact, and the choice is a
multiple-choice knapsack, solved by dynamic programming over cost buckets as in SPDY
(Frantar and Alistarh, *SPDY: accurate pruning with speedup guarantees*, ICML 2022).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .relaxation import first_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .cost_tables import Array, Index
    from .problem import Levels, Problem

__all__ = ["knapsack", "linearised_points"]

_BUCKETS = 2000
_ROUNDING = 1e-12


def linearised_points(problem: Problem, levels: Levels, steps: int = 6) -> list[Levels]:
    """Solve knapsacks on the cost linearised around each other's solutions.

    Args:
        problem: with the budget to keep.
        levels: where to start.
        steps: how many knapsacks; each lets a group move half as far as the one before.

    Returns:
        The solutions within the budget.
    """
    points: list[Levels] = []
    for step in range(steps):
        moves = first_order(problem, levels)
        windows = [
            np.arange(
                max(0, level - _radius(size, step)),
                min(size, level + _radius(size, step) + 1),
            )
            for level, size in zip(levels, problem.sizes, strict=True)
        ]
        choice = knapsack(
            [curve[w] for curve, w in zip(problem.curves, windows, strict=True)],
            [move[w] for move, w in zip(moves, windows, strict=True)],
            problem.budget - problem.cost(levels),
        )
        levels = tuple(int(w[c]) for w, c in zip(windows, choice, strict=True))
        if problem.feasible(levels):
            points.append(levels)
    return points


def _radius(size: int, step: int) -> int:
    return max(1, size >> step)


def knapsack(values: Sequence[Array], costs: Sequence[Array], room: float) -> list[int]:
    """Choose one item per group: least summed value, summed cost at most `room`.

    Costs are rounded up to buckets, so that the sum never exceeds `room`; where not even
    the cheapest items fit, those are returned.

    Args:
        values: per group and item.
        costs: per group and item, of either sign.
        room: bound on the summed cost.
    """
    cheapest = [int(cost.argmin()) for cost in costs]
    free = room - sum(float(cost.min()) for cost in costs)
    if free < 0:
        return cheapest
    unit = max(free, _ROUNDING * sum(float(np.ptp(cost)) for cost in costs)) or 1.0
    best = np.zeros(_BUCKETS + 1)
    spent: list[Index] = []
    picks: list[Index] = []
    for value, cost in zip(values, costs, strict=True):
        steps = np.ceil((cost - cost.min()) / unit * _BUCKETS).clip(max=_BUCKETS + 1)
        spent.append(steps.astype(np.int64))
        left = np.arange(_BUCKETS + 1) - spent[-1][:, np.newaxis]
        totals = np.where(left >= 0, best[left.clip(min=0)], np.inf) + value[:, np.newaxis]
        picks.append(totals.argmin(axis=0))
        best = totals.min(axis=0)
    bucket, choice = _BUCKETS, cheapest
    for group in reversed(range(len(values))):
        choice[group] = int(picks[group][bucket])
        bucket -= int(spent[group][choice[group]])
    return choice
