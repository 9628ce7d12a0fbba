"""Ridge regression of one layer: anchored at the old weights, with a choice of strength, and limits known.

Source: the refit of a layer's weights on the cut network's inputs towards the dense network's
outputs is He, Zhang, Sun 2017 (Channel Pruning, arXiv:1707.06168, section 3.1). A ReLU after
the layer is treated as in Zhang, Zou, He, Sun 2015 (arXiv:1505.06798, section 3.2): where the
dense value is negative, any negative value will do. What clamps at both ends, such as ReLU6, is
treated alike at its upper end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .judge import Judge, Limits, targets_within
from .normal_equations import NormalEquations, normal_equations
from .rows import Rows

__all__ = ["QUICK", "THOROUGH", "Fit", "Search", "refit", "refit_like"]

BETWEEN = 10**0.5
"""Factor from the best of these strengths to those that are tried on either side of it."""

EXACT = 1e-9
"""Least error of a layer that is refitted, as a share of its targets' energy."""


@dataclass(frozen=True)
class Search:
    """Which strengths of the ridge are tried, and how long.

    Attributes:
        ridges: strengths, in units of the mean variance of the inputs; infinite: only the bias is fitted.
        beside: whether the strengths on either side of the best one are tried as well.
        rounds: most rounds in which targets outside of the limits are replaced by the prediction again.
        samples: held-out samples by which they are judged, at least.
        solved_in: the type in which the equations are solved.
        within: factor between the strength that was best for a layer in another cut, and those that are tried.
    """

    ridges: tuple[float, ...]
    beside: bool
    rounds: int
    samples: float
    solved_in: torch.dtype
    within: float

    def near(self, other: Fit | None) -> Search:
        """Return the search for a layer that was fitted in another cut: the best strength is about the same there.

        Args:
            other: the fit of the layer in that cut; ``None`` if there is none.
        """
        if other is None or not 0 < other.ridge < math.inf:
            return self
        log, most = math.log(other.ridge), math.log(self.within) + 1e-9
        near = [r for r in self.ridges if math.isinf(r) or abs(math.log(r) - log) <= most]
        return replace(self, ridges=tuple(near)) if near else self


THOROUGH = Search(
    (math.inf, 1e2, 1e1, 1e0, 1e-1, 1e-2, 1e-3, 1e-4), True, 4, math.inf, torch.float64, 10
)
"""For the network that is kept."""

QUICK = Search((1e1, 1e0, 1e-1, 1e-2), False, 1, 64, torch.float32, 1)
"""For networks that are compared, or of which something is measured: a third of the work."""


@dataclass(frozen=True)
class Fit:
    """Fitted weights of a layer, and their error.

    Attributes:
        weight: ``[g, o, u]``, float64.
        bias: ``[g, o]``, float64.
        before: squared error of the old weights on the held-out rows.
        after: squared error of these weights; not above ``before``.
        ridge: strength chosen; infinite if only the bias is new, 0 if the old weights stay.
        replaced: whether the first fit had targets outside of the limits replaced by what the old
            weights predict.
        rounds: rounds after it in which they were replaced by what the fit before predicts.
    """

    weight: Tensor
    bias: Tensor
    before: float
    after: float
    ridge: float
    replaced: bool = False
    rounds: int = 0


def refit(
    fitted: Sequence[Rows],
    held_out: Sequence[Rows],
    weight: Tensor,
    bias: Tensor,
    *,
    free_bias: bool,
    limits: Limits | None,
    search: Search = THOROUGH,
) -> Fit:
    """Fit weights of least squared error, by ridge regression anchored at the old ones.

    Minimises ``|X Bᵀ + b + base - T|² + ridge * |B - W|²`` per group, for each strength, and
    takes the best on the held-out rows: if that is the old weights, they stay.

    With limits there are two beginnings, and rounds from the better one. Where the rest of the inputs
    can make up for what was lost, it is to fit the dense values as they are; where it can't, to
    ask for no more outside of the limits than the old weights give.

    Args:
        fitted: rows to fit.
        held_out: rows to judge by, which aren't fitted.
        weight: ``[g, o, u]``, the old weights.
        bias: ``[g, o]``, the old bias; zeros if there is none.
        free_bias: whether the bias may change.
        limits: where what follows the layer is flat below and above; ``None`` if nowhere.
        search: which strengths are tried.
    """
    judge = Judge(held_out, limits)
    (before,) = judge.errors(weight[None], bias[None])
    best = Fit(weight, bias, before, before, 0.0)
    if before <= EXACT * judge.energy:
        return best
    normal = normal_equations(fitted, weight, bias, free_bias=free_bias, solved_in=search.solved_in)
    solver, aim = _Solver(normal), normal.aim(fitted)
    best = _better(best, solver.solutions(aim, search.ridges), judge, replaced=False)
    near = _beside(best.ridge) if search.beside else ()
    best = _better(best, solver.solutions(aim, near), judge, replaced=False)
    if limits is None:
        return best
    aim = normal.aim(targets_within(fitted, weight, bias, limits))
    known = 0 < best.ridge < math.inf
    near = _beside(best.ridge) if search.beside else ()
    there = (*near, best.ridge) if known else search.ridges
    best = _better(best, solver.solutions(aim, there), judge, replaced=True)
    for number in range(1, search.rounds + 1) if best.ridge else ():
        aim = normal.aim(targets_within(fitted, best.weight, best.bias, limits))
        solved = solver.solutions(aim, [best.ridge])
        new = _better(best, solved, judge, replaced=best.replaced, rounds=number)
        if new is best:
            break
        best = new
    return best


class _Solver:
    """Solver of normal equations. It holds the factor of the last strength, since the next aim often has the same."""

    def __init__(self, normal: NormalEquations) -> None:
        self._normal = normal
        self._last: tuple[float, Tensor | None] = math.inf, None

    def solutions(
        self, aim: tuple[Tensor, Tensor], ridges: Sequence[float]
    ) -> dict[float, tuple[Tensor, Tensor]]:
        """Solve for weights and bias with each strength for which the equations aren't singular."""
        found: dict[float, tuple[Tensor, Tensor]] = {}
        for ridge in ridges:
            if ridge != self._last[0]:
                self._last = ridge, None if math.isinf(ridge) else self._normal.factor(ridge)
            factor = self._last[1]
            if factor is not None or math.isinf(ridge):
                found[ridge] = self._normal.solve(aim, factor, ridge)
        return found


def _better(
    best: Fit,
    solved: Mapping[float, tuple[Tensor, Tensor]],
    judge: Judge,
    *,
    replaced: bool,
    rounds: int = 0,
) -> Fit:
    """Return the best of a fit and the solutions for some strengths; one whose error isn't a number is never it."""
    if not solved:
        return best
    weights, biases = (torch.stack(each) for each in zip(*solved.values(), strict=True))
    errors = judge.errors(weights, biases)
    for (ridge, new), after in zip(solved.items(), errors, strict=True):
        if after < best.after:
            best = Fit(*new, best.before, after, ridge, replaced, rounds)
    return best


def refit_like(
    known: Fit,
    rows: Sequence[Rows],
    weight: Tensor,
    bias: Tensor,
    *,
    free_bias: bool,
    limits: Limits | None,
) -> Fit:
    """Fit other rows with the strength and rounds of a known fit.

    Args:
        known: the fit whose strength and rounds are used.
        rows: all rows to fit; none is held out.
        weight: as in ``refit``.
        bias: as in ``refit``.
        free_bias: as in ``refit``.
        limits: as in ``refit``.
    """
    if not known.ridge:
        return replace(known, weight=weight, bias=bias)
    normal = normal_equations(rows, weight, bias, free_bias=free_bias)
    solver = _Solver(normal)
    aims = targets_within(rows, weight, bias, limits) if known.replaced else rows
    new = solver.solutions(normal.aim(aims), [known.ridge]).get(known.ridge)
    for _ in range(known.rounds):
        if new is not None:
            aim = normal.aim(targets_within(rows, *new, limits))
            new = solver.solutions(aim, [known.ridge]).get(known.ridge)
    if new is None:
        return known
    return replace(known, weight=new[0], bias=new[1])


def _beside(ridge: float) -> tuple[float, ...]:
    """Return the strengths to try on either side of the best one."""
    return (ridge * BETWEEN, ridge / BETWEEN) if 0 < ridge < math.inf else ()
