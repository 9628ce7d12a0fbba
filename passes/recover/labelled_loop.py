"""The training loop with labels: distillation and cross-entropy together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from .distance import Distance
from .training import Loop

__all__ = ["LabelledLoop"]

CROSS_ENTROPY = 0.5
"""Weight of the cross-entropy, that of the outputs' error being 1."""


@dataclass(frozen=True)
class LabelledLoop(Loop):
    """A loop whose steps have labels, last among what ``draw`` returns; the held-out error is the cross-entropy.

    Attributes:
        labels: of the held-out batches.
    """

    name: ClassVar[str] = "finetune"
    labels: Sequence[Tensor]

    def _loss(self, step: int, distance: Distance) -> Tensor:
        """Add the cross-entropy of the student's one output to how far it is from the dense network."""
        *inputs, labels = self.draw(step)
        error, (logits,) = self._imitated(self._changed(inputs, step), distance)
        return error + CROSS_ENTROPY * F.cross_entropy(logits.float(), labels)

    def _held_out_error(self) -> float:
        total = sum(
            float(F.cross_entropy(logits.float(), labels, reduction="sum"))
            for logits, labels in self._held_out_logits()
        )
        return total / sum(map(len, self.labels))

    @torch.no_grad()
    def accuracy(self) -> float:
        """Measure the share of held-out samples that the student gives the right class, 0 to 1."""
        self.student.eval()
        right = [(x.argmax(1) == y).sum() for x, y in self._held_out_logits()]
        return float(sum(right)) / sum(map(len, self.labels))

    def _held_out_logits(self) -> list[tuple[Tensor, Tensor]]:
        return [
            (self.student(*x)[0][0], y)
            for (x, _), y in zip(self.held_out, self.labels, strict=True)
        ]
