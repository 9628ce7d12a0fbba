"""Normal equations of ridge regression that is anchored at the old weights, times one factor for each output.

Noise in the inputs draws the best weights of an output towards 0, all by nearly the same factor. So the anchor of an output is a
multiple of its old weights, and the multiple is fitted with them; its own ridge, towards 1, is weaker by ``FREE``.

``n`` rows of ``u`` inputs give ``u`` equations for the weights (primal), or ``n`` for what each row
contributes to their change (dual). The smaller system is solved; both have the same solution.

Source: Saunders, Gammerman, Vovk 1998 (ridge regression in dual variables, ICML, section 2).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from graphprune.ir.devices import wide
from graphprune.passes.observe import Moments
from graphprune.passes.observe.distributed import sum_over_processes

from .rows import Rows, joined

__all__ = ["NormalEquations", "apply_weight", "normal_equations"]


LEAST_SPREAD = 1e-3
"""Least unit of the ridge of a group of channels, in the mean variance of all groups' inputs. A channel that is
silent on the rows to fit would otherwise take any weights, and speak on others."""


FREE = 3e-1
"""Ridge on the factor of an output's old weights, as a share of that on the weights."""


@dataclass(frozen=True)
class NormalEquations(ABC):
    """Normal equations over the rows of all processes: their left side, to be solved for several right sides.

    Attributes:
        weight: ``[g, o, u]``, float64, where the ridge is anchored.
        bias: ``[g, o]``, float64.
        free_bias: whether the bias may change.
        solved_in: the type in which they are solved.
        mean: ``[g, u]``, float64, of the inputs.
    """

    weight: Tensor
    bias: Tensor
    free_bias: bool
    solved_in: torch.dtype
    mean: Tensor

    @abstractmethod
    def factor(self, ridge: float) -> Tensor | None:
        """Return the Cholesky factor of the regularised left side; ``None`` if it isn't positive definite."""

    @abstractmethod
    def aim(self, rows: Iterable[Rows]) -> tuple[Tensor, Tensor]:
        """Return the right side for the targets of rows, and the targets' mean ``[g, o]``."""

    @abstractmethod
    def solve(
        self, aim: tuple[Tensor, Tensor], factor: Tensor | None, ridge: float
    ) -> tuple[Tensor, Tensor]:
        """Solve for weights ``[g, o, u]`` and bias ``[g, o]``; without a factor, for the bias alone."""

    def _level(self, weight: Tensor, centre: Tensor) -> Tensor:
        """Return the bias ``[g, o]`` that goes with a weight, where the targets have the mean ``centre``."""
        return centre - apply_weight(weight, self.mean) if self.free_bias else self.bias


def normal_equations(
    rows: Sequence[Rows],
    weight: Tensor,
    bias: Tensor,
    *,
    free_bias: bool,
    solved_in: torch.dtype = torch.float64,
) -> NormalEquations:
    """Set up the normal equations of rows, about their mean if the bias is free.

    Args:
        rows: rows of this process; if the bias is free, with a mean that is small beside the variance.
        weight: ``[g, o, u]``, where the ridge is anchored.
        bias: ``[g, o]``.
        free_bias: whether the bias may change.
        solved_in: the type in which they are solved. Float32 takes half of the time, and will do for strong ridges.
    """
    count = float(
        sum_over_processes(weight.new_tensor([sum(each.inputs.shape[1] for each in rows)]))
    )
    make = _ByRow if 0 < count < weight.shape[2] else _ByInput
    return make.of(rows, weight, bias, free_bias=free_bias, solved_in=solved_in)


@dataclass(frozen=True)
class _ByInput(NormalEquations):
    """Normal equations with one equation for each input (primal).

    Attributes:
        covariance: ``[g, u, u]``, float64, of the inputs; their second moment where the bias is fixed.
        count: number of rows, at least 1.
    """

    covariance: Tensor
    count: float

    @classmethod
    def of(
        cls,
        rows: Sequence[Rows],
        weight: Tensor,
        bias: Tensor,
        *,
        free_bias: bool,
        solved_in: torch.dtype,
    ) -> _ByInput:
        """Sum the moments of the rows of all processes, about the mean if the bias is free."""
        moments = Moments.zero(len(weight), weight.shape[2], weight.device)
        for each in rows:
            moments += Moments.of(each.inputs, centred=free_bias)
        moments = moments.everywhere()
        covariance = moments.covariance if free_bias else moments.second
        count = max(moments.count, 1.0)
        return cls(weight, bias, free_bias, solved_in, moments.mean, covariance, count)

    def factor(self, ridge: float) -> Tensor | None:
        """Return the Cholesky factor of the regularised covariance; ``None`` if it isn't positive definite."""
        return _factor(self.covariance, self._penalty(ridge), self.solved_in)

    def aim(self, rows: Iterable[Rows]) -> tuple[Tensor, Tensor]:
        """Return the mean of targets times inputs ``[g, o, u]``, and of targets ``[g, o]``."""
        cross, summed = torch.zeros_like(self.weight), torch.zeros_like(self.bias)
        for each in rows:
            aim = each.targets - each.base
            cross += wide(aim.transpose(1, 2) @ each.inputs)
            summed += wide(aim.sum(1))
        return sum_over_processes(cross) / self.count, sum_over_processes(summed) / self.count

    def solve(
        self, aim: tuple[Tensor, Tensor], factor: Tensor | None, ridge: float
    ) -> tuple[Tensor, Tensor]:
        """Solve for weights and bias; see ``NormalEquations``."""
        cross, centre = aim
        if factor is None:
            return self.weight, self._level(self.weight, centre)
        fixed = centre if self.free_bias else self.bias
        right = cross - fixed[:, :, None] * self.mean[:, None, :]
        both = torch.cat([right, self.weight], 1).transpose(1, 2).to(factor)
        new, old = wide(torch.cholesky_solve(both, factor)).transpose(1, 2).tensor_split(2, 1)
        fitting, energy = ((old * each).sum(2) for each in (right, self._spread))
        multiple = _multiple(self.weight, fitting, energy)
        new = new + (multiple * self._penalty(ridge))[:, :, None] * old
        return new, self._level(new, centre)

    @cached_property
    def _spread(self) -> Tensor:
        """Covariance of each old output with the inputs, ``[g, o, u]``."""
        return self.weight @ self.covariance

    def _penalty(self, ridge: float) -> Tensor:
        """Return the ridge in the unit of the covariance, ``[g, 1]``."""
        spread = self.covariance.diagonal(dim1=1, dim2=2).mean(1, keepdim=True)
        return ridge * spread.clamp_min(LEAST_SPREAD * float(spread.mean())) + 1e-12


@dataclass(frozen=True)
class _ByRow(NormalEquations):
    """Normal equations with one equation for each row (dual).

    Attributes:
        inputs: ``[g, n, u]``, of all processes; about their mean where the bias is free.
        products: ``[g, n, n]``, float64, of the rows with each other, over ``n``.
    """

    inputs: Tensor
    products: Tensor

    @classmethod
    def of(
        cls,
        rows: Sequence[Rows],
        weight: Tensor,
        bias: Tensor,
        *,
        free_bias: bool,
        solved_in: torch.dtype,
    ) -> _ByRow:
        """Gather the rows of all processes, about the mean if the bias is free."""
        inputs = joined([each.inputs for each in rows], weight[:, 0])
        mean = inputs.mean(1, keepdim=True)
        if free_bias:
            inputs = inputs - mean
        # Rows stand in the place of inputs here, so that each pair of them is multiplied once.
        gram = Moments.of(inputs.transpose(1, 2), centred=True).gram
        products = gram / max(inputs.shape[1], 1)
        return cls(weight, bias, free_bias, solved_in, wide(mean[:, 0]), inputs, products)

    def factor(self, ridge: float) -> Tensor | None:
        """Return the Cholesky factor of the regularised Gram matrix; ``None`` if it isn't positive definite."""
        energy = self.products.diagonal(dim1=1, dim2=2).sum(1, keepdim=True)
        energy = energy.clamp_min(LEAST_SPREAD * float(energy.mean()))
        penalty = ridge * energy / self.inputs.shape[2] + 1e-12
        return _factor(self.products, penalty, self.solved_in)

    def aim(self, rows: Iterable[Rows]) -> tuple[Tensor, Tensor]:
        """Return the targets of each row ``[g, n, o]``, and their mean."""
        wanted = wide(joined([each.targets - each.base for each in rows], self.bias))
        return wanted, wanted.mean(1)

    def solve(
        self, aim: tuple[Tensor, Tensor], factor: Tensor | None, ridge: float
    ) -> tuple[Tensor, Tensor]:
        """Solve for weights and bias; see ``NormalEquations``."""
        wanted, centre = aim
        if factor is None:
            return self.weight, self._level(self.weight, centre)
        got = wide(self.inputs @ self.weight.to(self.inputs).transpose(1, 2))
        rest = wanted - (centre if self.free_bias else self.bias)[:, None]
        both = torch.cat([rest, got], 2).to(factor) / max(wanted.shape[1], 1)
        both = wide(torch.cholesky_solve(both, factor))
        new, old = both.tensor_split(2, 2)
        multiple = _multiple(self.weight, *((old * each).sum(1) for each in (rest, got)))
        share = (new - multiple[:, None] * old).transpose(1, 2)
        new = multiple[:, :, None] * self.weight + wide(share.to(self.inputs) @ self.inputs)
        return new, self._level(new, centre)


def apply_weight(weight: Tensor, inputs: Tensor) -> Tensor:
    """Multiply a weight ``[g, o, u]`` with one row of inputs ``[g, u]``: ``[g, o]``."""
    return (weight @ inputs[:, :, None])[:, :, 0]


def _multiple(weight: Tensor, fitting: Tensor, energy: Tensor) -> Tensor:
    """Return the best multiple ``[g, o]`` of each output's old weights to anchor its new ones at.

    Args:
        weight: ``[g, o, u]``, the old weights.
        fitting: ``[g, o]``: the targets times what the old weights predict, in the regularised metric.
        energy: ``[g, o]``: the square of what they predict, in that metric.
    """
    prior = FREE * weight.square().sum(2).clamp_min(1e-30)
    return (fitting + prior) / (energy + prior)


def _factor(matrix: Tensor, penalty: Tensor, solved_in: torch.dtype) -> Tensor | None:
    """Factor ``[g, m, m]`` plus ``[g, 1]`` on the diagonal by Cholesky; ``None`` if it isn't positive definite."""
    regularised = matrix.to(solved_in, copy=True)
    regularised.diagonal(dim1=1, dim2=2).add_(penalty)
    factor, failed = torch.linalg.cholesky_ex(regularised)
    return None if bool(failed.any()) else factor
