"""What is measured of the dense network, and errors beside it."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from graphprune.analysis.analyse import analyse
from graphprune.data.calibration import gather
from graphprune.errors import OptionError
from graphprune.ir.trace import trace
from graphprune.passes.observe import Observations
from tests.passes.observe.helpers import Residual, shaken


def seen_by(net: nn.Module, *data: Tensor) -> Observations:
    program = trace(net, tuple(x[:2] for x in data))
    return Observations(analyse(program), gather([data], program))


@pytest.fixture(scope="module")
def seen() -> Observations:
    torch.manual_seed(0)
    return seen_by(shaken(Residual()), torch.randn(160, 3, 8, 8))


def test_no_batch_is_both_fitted_and_judged_by(seen: Observations) -> None:
    assert seen.fitted
    assert seen.held_out
    assert sorted((*seen.fitted, *seen.held_out)) == list(range(len(seen.batches)))


@pytest.mark.parametrize("samples", [1, 20, 33, 100])
def test_some_of_the_fitted_batches_hold_the_samples_asked_for(
    seen: Observations, samples: int
) -> None:
    found = seen.some_fitted(samples)
    assert found is not None
    assert set(found) < set(seen.fitted)
    size = 160 / len(seen.batches)
    assert samples <= len(found) * size < samples + size
    apart = [b - a for a, b in pairwise(found)]
    assert max(apart, default=0) - min(apart, default=0) <= 1, "evenly spaced"


@pytest.mark.parametrize("samples", [128, 160, 5000])
def test_all_fitted_batches_are_not_some_of_them(seen: Observations, samples: int) -> None:
    assert seen.some_fitted(samples) is None


def test_the_error_of_the_dense_outputs_is_none_and_that_of_their_mean_all(
    seen: Observations,
) -> None:
    dense = seen.record.outputs
    assert seen.error(dense) == 0
    mean = torch.cat([outputs[0].flatten() for outputs in dense.values()]).mean()
    flat = {n: [torch.full_like(outputs[0], float(mean))] for n, outputs in dense.items()}
    assert seen.error(flat) == pytest.approx(1, rel=0.05)
    twice = {n: [2 * flat[n][0] - outputs[0]] for n, outputs in dense.items()}
    assert seen.error(twice) == pytest.approx(4 * seen.error(flat), rel=1e-4)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_error_that_is_no_number_is_infinite(seen: Observations, value: float) -> None:
    broken = {n: [torch.full_like(y[0], value)] for n, y in seen.record.outputs.items()}
    assert seen.error(broken) == math.inf


class Labelled(nn.Module):
    """One output of floats between two that aren't."""

    def __init__(self, *, floats: bool = True) -> None:
        super().__init__()
        self.a, self.b, self.floats = nn.Linear(4, 8), nn.Linear(8, 3), floats

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = self.b(self.a(x).relu())
        return (y > 0, y, y.argmax(1)) if self.floats else (y > 0, y.argmax(1))


def test_only_floats_are_compared() -> None:
    seen = seen_by(Labelled(), torch.randn(160, 4))
    assert seen.compared == (False, True, False)
    wrong = {n: [~y[0], y[1], y[2] + 1] for n, y in seen.record.outputs.items()}
    assert seen.error(wrong) == 0


def test_a_model_without_an_output_to_compare_is_refused() -> None:
    seen = seen_by(Labelled(floats=False), torch.randn(160, 4))
    with pytest.raises(OptionError, match="can be compared") as caught:
        _ = seen.compared
    assert caught.value.hint


def test_the_weights_are_the_dense_ones_and_ties_are_one(seen: Observations) -> None:
    tensors = seen.analysis.tensors
    assert all(torch.equal(w, tensors[layer.name]) for layer, w in seen.weights.items())
    assert list(seen.ties) == list(seen.layers)


def test_a_stage_is_counted_from_one() -> None:
    news: list[str] = []
    net = nn.Linear(3, 2)
    program = trace(net, (torch.randn(2, 3),))
    data = gather([torch.randn(8, 3)], program)
    Observations(analyse(program), data, progress=news.append).tell("look", 0, 3)
    assert news == ["look 1 of 3"]
