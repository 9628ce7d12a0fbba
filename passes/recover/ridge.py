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

from graphprune.ir.devices import CPU, wide
from graphprune.passes.observe.distributed import sum_over_processes, total

from .normal_equations import NormalEquations, Rows, normal_equations

__all__ = ["Fit", "Limits", "refit", "refit_like"]

RIDGES = (math.inf, 1e2, 1e1, 1e0, 1e-1, 1e-2, 1e-3, 1e-4)
"""Ridge strengths tried, in units of the mean variance of the inputs; infinite: only the bias is fitted."""

QUICK_RIDGES, QUICK_ROUNDS = (1e1, 1e0, 1e-1, 1e-2), 1
"""Those of a quick search, which is for comparing networks: a third of the work."""

BETWEEN = 10**0.5
"""Factor from the best of these strengths to those that are tried on either side of it."""

ROUNDS = 4
"""Most rounds in which targets outside of the limits are replaced by the prediction again."""

EXACT = 1e-9
"""Least error of a layer that is refitted, as a share of its targets' energy."""

Limits = tuple[float, float]
"""Least and greatest value that count: what lies outside counts as if it were there."""


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
    quick: bool = False,
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
        quick: try few strengths and rounds.
    """
    search = _Search(held_out, limits)
    before = search.errors(weight[None], bias[None])[0]
    best = Fit(weight, bias, before, before, 0.0)
    if before <= EXACT * _energy(held_out):
        return best
    normal = normal_equations(fitted, weight, bias, free_bias=free_bias)
    solver, aim = _Solver(normal), normal.aim(fitted)
    ridges, rounds = (QUICK_RIDGES, QUICK_ROUNDS) if quick else (RIDGES, ROUNDS)
    best = search.best(best, solver.solutions(aim, ridges), replaced=False)
    best = search.best(
        best, solver.solutions(aim, () if quick else _beside(best.ridge)), replaced=False
    )
    if limits is None:
        return best
    aim = normal.aim(_within(fitted, weight, bias, limits))
    near = _beside(best.ridge)
    there = (*(() if quick else near), best.ridge) if near else ridges
    best = search.best(best, solver.solutions(aim, there), replaced=True)
    for number in range(1, rounds + 1) if best.ridge else ():
        aim = normal.aim(_within(fitted, best.weight, best.bias, limits))
        solved = solver.solutions(aim, [best.ridge])
        new = search.best(best, solved, replaced=best.replaced, rounds=number)
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


class _Search:
    """Search for the fit of least error on the held-out rows.

    Args:
        held_out: rows to judge by.
        limits: where what follows the layer is flat.
    """

    def __init__(self, held_out: Sequence[Rows], limits: Limits | None) -> None:
        self._limits = limits
        self._rows = [replace(each, targets=_clamped(each.targets, limits)) for each in held_out]

    def best(
        self,
        best: Fit,
        solved: Mapping[float, tuple[Tensor, Tensor]],
        *,
        replaced: bool,
        rounds: int = 0,
    ) -> Fit:
        """Return the best of a fit and the solutions for some strengths; one whose error isn't a number is never it."""
        if not solved:
            return best
        weights, biases = (torch.stack(each) for each in zip(*solved.values(), strict=True))
        for (ridge, new), after in zip(solved.items(), self.errors(weights, biases), strict=True):
            if after < best.after:
                best = Fit(*new, best.before, after, ridge, replaced, rounds)
        return best

    def errors(self, weights: Tensor, biases: Tensor) -> list[float]:
        """Return the squared error of each weight ``[k, g, o, u]`` with its bias ``[k, g, o]``: they share one product."""
        wrong = torch.zeros(len(weights), dtype=torch.float64)
        for each in self._rows:
            got = _clamped(_predicted(each, weights, biases), self._limits)
            squares = got.sub_(each.targets).square_()
            wrong += squares.sum((1, 2, 3)).double().to(CPU)
        return sum_over_processes(wrong).tolist()


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
    aims = _within(rows, weight, bias, limits) if known.replaced else rows
    new = solver.solutions(normal.aim(aims), [known.ridge]).get(known.ridge)
    for _ in range(known.rounds):
        if new is not None:
            aim = normal.aim(_within(rows, *new, limits))
            new = solver.solutions(aim, [known.ridge]).get(known.ridge)
    if new is None:
        return known
    return replace(known, weight=new[0], bias=new[1])


def _beside(ridge: float) -> tuple[float, ...]:
    """Return the strengths to try on either side of the best one."""
    return (ridge * BETWEEN, ridge / BETWEEN) if 0 < ridge < math.inf else ()


def _predicted(rows: Rows, weights: Tensor, biases: Tensor) -> Tensor:
    """Return what some weights ``[k, g, o, u]`` and biases ``[k, g, o]`` make of rows: ``[k, g, n, o]``."""
    inputs, count = rows.inputs, len(weights)
    wide_weight = weights.to(inputs).permute(1, 3, 0, 2).flatten(2)
    got = (inputs @ wide_weight).unflatten(2, (count, -1)).permute(2, 0, 1, 3)
    return got.add_(biases.to(inputs)[:, :, None]).add_(rows.base)


def _clamped(values: Tensor, limits: Limits | None) -> Tensor:
    return values if limits is None else values.clamp(*limits)


def _within(
    rows: Sequence[Rows], weight: Tensor, bias: Tensor, limits: Limits | None
) -> list[Rows]:
    """Replace targets outside of the limits by the prediction where that is outside too, else by the limit."""
    if limits is None:
        return list(rows)
    lower, upper = limits
    found: list[Rows] = []
    for each in rows:
        got, want = _predicted(each, weight[None], bias[None])[0], each.targets
        aims = torch.where(want < lower, got.clamp_max(lower), want)
        if upper < math.inf:
            aims = torch.where(want > upper, got.clamp_min(upper), aims)
        found.append(replace(each, targets=aims))
    return found


def _energy(rows: Sequence[Rows]) -> float:
    return total(sum(float(wide(each.targets).square().sum()) for each in rows))
