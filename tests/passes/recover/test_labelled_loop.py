"""The loss of a step with labels: imitation and cross-entropy, each of the samples that belong together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch.nn import functional as F

from graphprune.passes.recover.distance import Distance
from graphprune.passes.recover.labelled_loop import CROSS_ENTROPY, LabelledLoop
from graphprune.passes.recover.training import Settings


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
    loop: Any = LabelledLoop(
        pair=pair,  # type: ignore[arg-type]
        draw=lambda step: [x, y],
        held_out=[((x[:5],), [wanted[:5]]), ((x[5:],), [wanted[5:]])],
        distance=distance, inside=Distance(()), deep=Distance(()),
        settings=Settings(SimpleNamespace(), (), True, 0),  # type: ignore[arg-type]
        optimizers=[], device=torch.device("cpu"), checkpoint=None, identity="", progress=None, begun=0.0,
        labels=[y[:5], y[5:]],
    )  # fmt: skip
    logits = student(x)[0][0]
    want = F.mse_loss(logits, wanted) / 2 + CROSS_ENTROPY * F.cross_entropy(logits, y)
    torch.testing.assert_close(loop._loss(3, distance), want)
    with torch.no_grad():
        error = loop._held_out_error()
    assert abs(error - F.cross_entropy(logits, y).item()) < 1e-6
    assert loop.accuracy() == float((logits.argmax(1) == y).float().mean())
