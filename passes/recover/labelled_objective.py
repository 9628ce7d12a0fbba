"""What fine-tuning minimises: the distance from the dense network, and the cross-entropy of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .objective import Objective

__all__ = ["LabelledObjective"]

CROSS_ENTROPY = 0.5
"""Weight of the cross-entropy, that of the outputs' error being 1."""


@dataclass(frozen=True, kw_only=True)
class LabelledObjective(Objective):
    """Objective with labels, which are last among what ``draw`` returns; the held-out error is the cross-entropy.

    Attributes:
        labels: of the held-out batches.
    """

    labels: Sequence[Tensor]

    def loss(self, step: int, *, by_depth: bool) -> Tensor:
        """Add the cross-entropy of the student's one output to how far it is from the dense network."""
        *inputs, labels = self.draw(step)
        error, (logits,) = self._imitated(self._changed(inputs, step), by_depth)
        return error + CROSS_ENTROPY * F.cross_entropy(logits.float(), labels)

    def held_out_error(self) -> float:
        """Measure the mean cross-entropy on data that isn't trained on, in evaluation mode."""
        total = sum(
            float(F.cross_entropy(logits.float(), labels, reduction="sum"))
            for logits, labels in self._held_out_logits()
        )
        return total / sum(map(len, self.labels))

    def accuracy(self) -> float:
        """Measure the share of held-out samples that the student gives the right class, 0 to 1."""
        right = [(x.argmax(1) == y).sum() for x, y in self._held_out_logits()]
        return float(sum(right)) / sum(map(len, self.labels))

    @torch.no_grad()
    def _held_out_logits(self) -> list[tuple[Tensor, Tensor]]:
        self.student.eval()
        return [
            (self.student(*x)[0][0], y)
            for x, y in zip(self.held_out.inputs, self.labels, strict=True)
        ]
