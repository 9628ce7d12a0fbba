"""Ridge regression of one layer: anchored at the old weights, with a choice of strength, and ReLU-aware.

Source: the refit of a layer's weights on the cut network's inputs towards the dense network's
outputs is He, Zhang, Sun 2017 (Channel Pruning, arXiv:1707.06168, section 3.1). A ReLU after
the layer is treated as in Zhang, Zou, He, Sun 2015 (arXiv:1505.06798, section 3.2): where the
dense value is negative, any negative value will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from graphprune.passes.observe.distributed import sum_over_processes

from .normal_equations import Rows, normal_equations

__all__ = ["Fit", "refit", "refit_like"]

RIDGES = (1e-1, 1e-2, 1e-3)
"""Ridge strengths tried, in units of the mean variance of the inputs."""

ROUNDS = 4
"""Most rounds in which negative targets before a ReLU are replaced by the prediction."""

EXACT = 1e-9
"""Least error of a layer that is refitted, as a share of its targets' energy."""


@dataclass(frozen=True)
class Fit:
    """Fitted weights of a layer, and their error.

    Attributes:
        weight: ``[g, o, u]``, float64.
        bias: ``[g, o]``, float64.
        before: squared error of the old weights on the held-out rows.
        after: squared error of these weights; not above ``before``.
        ridge: strength chosen; 0 if the old weights stay.
        rounds: rounds in which negative targets before a ReLU were replaced.
    """

    weight: Tensor
    bias: Tensor
    before: float
    after: float
    ridge: float
    rounds: int = 0


def refit(
    fitted: Sequence[Rows],
    held_out: Sequence[Rows],
    weight: Tensor,
    bias: Tensor,
    *,
    free_bias: bool,
    rectified: bool,
) -> Fit:
    """Fit weights of least squared error, by ridge regression anchored at the old ones.

    Minimises ``|X Bᵀ + b + base - T|² + ridge * |B - W|²`` per group, for each strength, and
    takes the best on the held-out rows: if that is the old weights, they stay.

    Args:
        fitted: rows to fit.
        held_out: rows to judge by, which aren't fitted.
        weight: ``[g, o, u]``, the old weights.
        bias: ``[g, o]``, the old bias; zeros if there is none.
        free_bias: whether the bias may change.
        rectified: whether a ReLU follows the layer.
    """
    before = _error(held_out, weight, bias, rectified=rectified)
    best = Fit(weight, bias, before, before, 0.0)
    if before <= EXACT * _energy(held_out):
        return best
    normal = normal_equations(fitted, weight, bias, free_bias=free_bias)
    aim = normal.aim(fitted)
    for ridge in RIDGES:
        factor = normal.factor(ridge)
        if factor is None:
            break
        new = normal.solve(aim, factor, ridge)
        after = _error(held_out, *new, rectified=rectified)
        if not after < best.after:  # nor if it isn't a number
            break
        best = Fit(*new, before, after, ridge)
    factor = normal.factor(best.ridge) if rectified and best.ridge else None
    new = best.weight, best.bias
    for number in range(ROUNDS):
        if factor is None:
            break
        aim = normal.aim([_clamped_targets(each, *new) for each in fitted])
        new = normal.solve(aim, factor, best.ridge)
        after = _error(held_out, *new, rectified=True)
        if after < best.after:
            best = Fit(*new, before, after, best.ridge, number + 1)
    return best


def refit_like(
    known: Fit, rows: Sequence[Rows], weight: Tensor, bias: Tensor, *, free_bias: bool
) -> Fit:
    """Fit other rows with the strength and rounds of a known fit.

    Args:
        known: the fit whose strength and rounds are used.
        rows: all rows to fit; none is held out.
        weight: as in ``refit``.
        bias: as in ``refit``.
        free_bias: as in ``refit``.
    """
    if not known.ridge:
        return replace(known, weight=weight, bias=bias)
    normal = normal_equations(rows, weight, bias, free_bias=free_bias)
    factor = normal.factor(known.ridge)
    if factor is None:
        return known
    new = normal.solve(normal.aim(rows), factor, known.ridge)
    for _ in range(known.rounds):
        new = normal.solve(
            normal.aim([_clamped_targets(each, *new) for each in rows]), factor, known.ridge
        )
    return replace(known, weight=new[0], bias=new[1])


def _predicted(rows: Rows, weight: Tensor, bias: Tensor) -> Tensor:
    return rows.inputs @ weight.float().transpose(1, 2) + bias.float()[:, None] + rows.base


def _clamped_targets(rows: Rows, weight: Tensor, bias: Tensor) -> Rows:
    """Replace negative targets by the prediction where that is negative too, else by 0."""
    aim = torch.minimum(_predicted(rows, weight, bias), rows.targets.new_zeros(()))
    return Rows(rows.inputs, torch.where(rows.targets < 0, aim, rows.targets), rows.base)


def _energy(rows: Sequence[Rows]) -> float:
    return float(
        sum_over_processes(
            sum(
                (each.targets.double().square().sum().reshape(1) for each in rows),
                torch.zeros(1, dtype=torch.float64),
            )
        )
    )


def _error(rows: Sequence[Rows], weight: Tensor, bias: Tensor, *, rectified: bool) -> float:
    wrong = weight.new_zeros(1)
    for each in rows:
        got, want = _predicted(each, weight, bias), each.targets
        if rectified:
            got, want = got.relu(), want.relu()
        wrong += (got - want).double().square().sum()
    return float(sum_over_processes(wrong))
