"""What distillation minimises: errors of outputs and of values inside, in units of the dense values' variance."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from graphprune.data.calibration import Calibration
from graphprune.passes.recover.objective import INNER, HeldOut, Objective


class Net(torch.nn.Module):
    """Returns one output, and two values inside."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: torch.Tensor) -> Any:
        first = self.layers[0](x)
        second = self.layers[1](first)
        return [self.layers[2](second)], [first, second]


def pair_of(dense: Net, small: Net) -> Any:
    def wanted(inputs: Any) -> Any:
        with torch.no_grad():
            return dense(*inputs)

    return SimpleNamespace(small=small, wanted=wanted, weights=[1.0, 64.0])


def relative(got: torch.Tensor, want: torch.Tensor, every: torch.Tensor) -> float:
    return float((got - want).square().mean() / every.var(correction=0))


@pytest.mark.parametrize("by_depth", [False, True])
def test_the_loss_adds_outputs_and_values_inside(by_depth: bool) -> None:
    torch.manual_seed(0)
    dense, small, batches = Net(), Net(), [(torch.randn(8, 4),) for _ in range(3)]
    pair = pair_of(dense, small)
    held_out = HeldOut.of(pair, Calibration(tuple(batches)), [0, 2], None)
    objective = Objective(
        pair=pair, draw=lambda step: batches[step], held_out=held_out, augment=(), seed=0
    )
    with torch.no_grad():
        aside = torch.cat([batches[0][0], batches[2][0]])
        (got, inner), (want, wanted_inner) = small(batches[1][0]), dense(batches[1][0])
        (every, every_inner) = dense(aside)
        (outputs, _) = small(aside)
    first, second = (relative(*each) for each in zip(inner, wanted_inner, every_inner, strict=True))
    inside = (first + 64 * second) / 65 if by_depth else (first + second) / 2
    loss = objective.loss(1, by_depth=by_depth)
    assert float(loss.detach()) == pytest.approx(
        relative(got[0], want[0], every[0]) + INNER * inside, rel=1e-4
    )
    assert objective.held_out_error() == pytest.approx(
        relative(outputs[0], every[0], every[0]), rel=1e-4
    )
    assert objective.accuracy() is None
