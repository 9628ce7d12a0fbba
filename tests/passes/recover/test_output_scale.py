"""The factor of class scores: found where probabilities diverge, and 1 where there are no scores."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.data.calibration import gather
from graphprune.ir.trace import trace
from graphprune.passes.observe import Observations, StagedRun
from graphprune.passes.recover.output_scale import WORSE, output_scale, scaled_outputs


class Head(nn.Module):
    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(6, 12), head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.first(x).relu())


def found(net: nn.Module, *size: int) -> tuple[Observations, Cut]:
    data = torch.randn(200, *size)
    program = trace(net.eval(), (data[:2],))
    observations = Observations(analyse(program), gather([data], program))
    return observations, Cut.keeping(observations.analysis, {})


def classifier(*, bias: bool = True) -> nn.Module:
    head = nn.Linear(12, 5, bias=bias)
    with torch.no_grad():
        head.weight.mul_(6)
    return Head(head)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("lost", [0.85, 0.95, 1.1])
def test_scores_that_were_drawn_to_their_mean_get_their_size_back(bias: bool, lost: float) -> None:
    torch.manual_seed(0)
    observations, cut = found(classifier(bias=bias), 6)
    drawn = scaled_outputs(observations, cut, StagedRun(cut.module, []).tensors, lost)
    factor = output_scale(observations, cut, drawn)
    assert factor == pytest.approx(1 / lost, rel=0.011)
    again = scaled_outputs(observations, cut, drawn, factor)
    (place,) = (observations.held_out[0],)
    (got,) = StagedRun(cut.module, [observations.batches[place]], again).outputs()[0]
    torch.testing.assert_close(got, observations.record.outputs[place][0], rtol=0.02, atol=0.02)


class Twice(nn.Module):
    """The layer's results are read by more than the output."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        return y + y.relu()


class Tied(nn.Module):
    """The last layer shares its weight with another."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.layer(x).relu())


@pytest.mark.parametrize(
    ("net", "size"),
    [
        (lambda: Head(nn.Sequential(nn.Linear(12, 5), nn.Softmax(1))), (6,)),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)), (3, 8, 8)),
        (Twice, (6,)),
        (Tied, (6,)),
    ],
)
def test_what_is_no_row_of_scores_of_one_layer_is_left_alone(
    net: Callable[[], nn.Module], size: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    observations, cut = found(net(), *size)
    assert output_scale(observations, cut, StagedRun(cut.module, []).tensors) == 1.0


@pytest.mark.parametrize("columns", [1, 2])
def test_one_column_has_no_scale(columns: int) -> None:
    torch.manual_seed(0)
    observations, cut = found(Head(nn.Linear(12, columns)), 6)
    drawn = dict(StagedRun(cut.module, []).tensors) | {"head.weight": torch.randn(columns, 12)}
    assert (output_scale(observations, cut, drawn) == 1.0) == (columns == 1)


def test_the_squared_error_hardly_rises() -> None:
    """Large values that are no scores: their softmax asks for another factor than they do themselves."""
    torch.manual_seed(0)
    observations, cut = found(classifier(), 6)
    noisy = {
        name: value + 0.2 * value.std() * torch.randn_like(value)
        for name, value in StagedRun(cut.module, []).tensors.items()
    }
    factor = output_scale(observations, cut, noisy)
    errors = [
        float(
            sum(
                (got[0] - observations.record.outputs[number][0]).square().sum()
                for number, got in zip(
                    observations.held_out,
                    StagedRun(
                        cut.module,
                        [observations.batches[b] for b in observations.held_out],
                        scaled_outputs(observations, cut, noisy, each),
                    ).outputs(),
                    strict=True,
                )
            )
        )
        for each in (1.0, factor)
    ]
    assert errors[1] <= WORSE * errors[0]
