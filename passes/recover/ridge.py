"""Ridge regression of one layer: anchored at the old weights, with a choice of strength, and limits known.

Source: the refit of a layer's weights on the cut network's inputs towards the dense network's
outputs is He, Zhang, Sun 2017 (Channel Pruning, arXiv:1707.06168, section 3.1). A ReLU after
the layer is treated as in Zhang, Zou, He, Sun 2015 (arXiv:1505.06798, section 3.2): where the
dense value is negative, any negative value will do. What clamps at both ends, such as ReLU6, is
treated alike at its upper end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from graphprune.ir.devices import wide
from graphprune.passes.observe.distributed import total

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
    before = _error(held_out, weight, bias, limits)
    best = Fit(weight, bias, before, before, 0.0)
    if before <= EXACT * _energy(held_out):
        return best
    normal = normal_equations(fitted, weight, bias, free_bias=free_bias)
    search = _Search(normal, held_out, limits)
    aim = normal.aim(fitted)
    ridges, rounds = (QUICK_RIDGES, QUICK_ROUNDS) if quick else (RIDGES, ROUNDS)
    best = search.best(best, aim, ridges, replaced=False)
    best = search.best(best, aim, () if quick else _beside(best.ridge), replaced=False)
    if limits is None:
        return best
    aim = normal.aim(_within(fitted, weight, bias, limits))
    near = _beside(best.ridge)
    there = (best.ridge, *(() if quick else near)) if near else ridges
    best = search.best(best, aim, there, replaced=True)
    for number in range(1, rounds + 1) if best.ridge else ():
        aim = normal.aim(_within(fitted, best.weight, best.bias, limits))
        new = search.better(best, aim, best.ridge, replaced=best.replaced, rounds=number)
        if new is best:
            break
        best = new
    return best


@dataclass(frozen=True)
class _Search:
    """Search for the fit of least error on the held-out rows."""

    normal: NormalEquations
    held_out: Sequence[Rows]
    limits: Limits | None

    def best(
        self, best: Fit, aim: tuple[Tensor, Tensor], ridges: Sequence[float], *, replaced: bool
    ) -> Fit:
        """Return the best of a fit and those of some strengths."""
        for ridge in ridges:
            best = self.better(best, aim, ridge, replaced=replaced)
        return best

    def better(
        self,
        best: Fit,
        aim: tuple[Tensor, Tensor],
        ridge: float,
        *,
        replaced: bool,
        rounds: int = 0,
    ) -> Fit:
        """Return the better of a fit and that of another strength or round."""
        new = _solved(self.normal, aim, ridge)
        if new is None:
            return best
        after = _error(self.held_out, *new, self.limits)
        found = Fit(*new, best.before, after, ridge, replaced, rounds)
        return found if after < best.after else best  # nor if it isn't a number


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
    aims = _within(rows, weight, bias, limits) if known.replaced else rows
    new = _solved(normal, normal.aim(aims), known.ridge)
    for _ in range(known.rounds):
        if new is not None:
            new = _solved(normal, normal.aim(_within(rows, *new, limits)), known.ridge)
    if new is None:
        return known
    return replace(known, weight=new[0], bias=new[1])


def _beside(ridge: float) -> tuple[float, ...]:
    """Return the strengths to try on either side of the best one."""
    return (ridge * BETWEEN, ridge / BETWEEN) if 0 < ridge < math.inf else ()


def _solved(
    normal: NormalEquations, aim: tuple[Tensor, Tensor], ridge: float
) -> tuple[Tensor, Tensor] | None:
    """Solve for weights and bias; ``None`` if the equations are singular."""
    factor = None if math.isinf(ridge) else normal.factor(ridge)
    return None if factor is None and ridge < math.inf else normal.solve(aim, factor, ridge)


def _predicted(rows: Rows, weight: Tensor, bias: Tensor) -> Tensor:
    inputs = rows.inputs
    return inputs @ weight.to(inputs).transpose(1, 2) + bias.to(inputs)[:, None] + rows.base


def _within(
    rows: Sequence[Rows], weight: Tensor, bias: Tensor, limits: Limits | None
) -> list[Rows]:
    """Replace targets outside of the limits by the prediction where that is outside too, else by the limit."""
    if limits is None:
        return list(rows)
    lower, upper = limits
    found: list[Rows] = []
    for each in rows:
        got, want = _predicted(each, weight, bias), each.targets
        want = torch.where(want < lower, got.clamp_max(lower), want)
        found.append(replace(each, targets=torch.where(want > upper, got.clamp_min(upper), want)))
    return found


def _energy(rows: Sequence[Rows]) -> float:
    return total(sum(float(wide(each.targets).square().sum()) for each in rows))


def _error(rows: Sequence[Rows], weight: Tensor, bias: Tensor, limits: Limits | None) -> float:
    wrong = 0.0
    for each in rows:
        got, want = _predicted(each, weight, bias), each.targets
        if limits is not None:
            got, want = got.clamp(*limits), want.clamp(*limits)
        wrong += float((got - want).square().sum())
    return total(wrong)
