"""The loss of distillation: squared distance of a student's values from the dense ones.

Source: Ba, Caruana, "Do Deep Nets Really Need to be Deep?", NIPS 2014, section 2.2: the squared error
of logits. A ResNet-20 cut to half its FLOPs and repaired (83.0 %) came in 400 steps on 1,024 images to
84.3 % by it alone, to 84.1 % with the divergence of softened classes for half of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from graphprune.ir.devices import wide

__all__ = ["Distance", "Outputs", "moment_sums"]

Outputs = list[Tensor]
"""Flat floating-point outputs of a program."""

NEGLIGIBLE = 1e-3
"""Weight of a value relative to the largest one, below which it isn't looked at: those are the first, and largest, of a network."""

_CONSTANT = 1e-12
"""Least variance of a value, as a share of its mean square; below, it may all be rounding."""


@dataclass(frozen=True)
class Distance:
    """Squared distance between values of two networks, in units of the dense values' variance.

    Attributes:
        scales: divisor of each value's squared error: its variance over samples and elements,
            infinite if it doesn't vary, so that it counts nothing.
    """

    scales: tuple[float, ...]

    @classmethod
    def of(cls, batches: Sequence[Tensor]) -> Distance:
        """Compute the scales from the ``moment_sums`` of the dense values of each batch."""
        count, total, squares = torch.stack(list(batches)).sum(0).T
        mean, energy = total / count, squares / count
        variance = energy - mean.square()
        varies = variance > _CONSTANT * energy
        return cls(tuple(torch.where(varies, variance, torch.inf).tolist()))

    def weighted(self, weights: Sequence[float]) -> Distance:
        """Return this distance with weights on the values, whose mean is scaled to 1; ``NEGLIGIBLE`` ones count nothing."""
        total, least = sum(weights), NEGLIGIBLE * max(weights, default=0.0)
        return replace(
            self,
            scales=tuple(
                s * total / (w * len(weights)) if w >= least else torch.inf
                for s, w in zip(self.scales, weights, strict=True)
            ),
        )

    def between(self, got: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
        """Return the mean squared error relative to the variance, averaged over values."""
        triples = list(zip(got, wanted, self.scales, strict=True))
        counted = [each for each in triples if each[2] < torch.inf] or triples
        return torch.stack([F.mse_loss(g, w) / s for g, w, s in counted]).sum() / len(triples)


def moment_sums(values: Sequence[Tensor]) -> Tensor:
    """Return count, sum and sum of squares of each value's elements: ``[len(values), 3]``, float64."""
    rows = [(x.numel(), float(wide(x).sum()), float(wide(x).square().sum())) for x in values]
    return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), 3)
