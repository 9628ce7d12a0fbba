"""The loss of a step with labels: imitation and cross-entropy, each of the samples that belong together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch.nn import functional as F

from graphprune.passes.recover.distance import Distance
from graphprune.passes.recover.labelled_objective import CROSS_ENTROPY, LabelledObjective
from graphprune.passes.recover.objective import HeldOut


class Student(torch.nn.Linear):
    """Returns its outputs, and no values inside."""

    def forward(self, x: torch.Tensor) -> Any:
        return [super().forward(x)], []


def test_the_loss_is_the_sum_of_both() -> None:
    torch.manual_seed(0)
    student, x, y = Student(4, 3), torch.randn(8, 4), torch.randint(0, 3, (8,))
    wanted = torch.randn(8, 3)
    distance = Distance((2.0,))
    pair = SimpleNamespace(small=student, wanted=lambda inputs: ([wanted], []))
    held_out = HeldOut(
        ((x[:5],), (x[5:],)), ([wanted[:5]], [wanted[5:]]), distance, inside=Distance(())
    )
    objective = LabelledObjective(
        pair=pair,  # type: ignore[arg-type]
        draw=lambda step: [x, y],
        held_out=held_out,
        augment=(),
        seed=0,
        labels=[y[:5], y[5:]],
    )
    logits = student(x)[0][0]
    want = F.mse_loss(logits, wanted) / 2 + CROSS_ENTROPY * F.cross_entropy(logits, y)
    torch.testing.assert_close(objective.loss(3, by_depth=True), want)
    assert abs(objective.held_out_error() - F.cross_entropy(logits, y).item()) < 1e-6
    assert objective.accuracy() == float((logits.argmax(1) == y).float().mean())
