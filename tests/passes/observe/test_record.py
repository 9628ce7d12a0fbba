"""What a pass over the dense network measures."""

from __future__ import annotations

import pytest
import torch

from graphprune.analysis.analyse import analyse
from graphprune.data.calibration import gather
from graphprune.ir.trace import trace
from graphprune.passes.observe import Observations
from graphprune.passes.observe.record import Recorder
from tests.passes.observe.helpers import Residual, shaken


@pytest.fixture(scope="module")
def seen() -> Observations:
    torch.manual_seed(0)
    program = trace(shaken(Residual()), (torch.randn(2, 3, 8, 8),))
    return Observations(analyse(program), gather([torch.randn(160, 3, 8, 8)], program))


def test_targets_are_dense_values_at_the_rows_that_are_recorded(seen: Observations) -> None:
    head = seen.layers[-1]
    for number, (x,) in enumerate(seen.batches):
        with torch.no_grad():
            dense = seen.analysis.program.module()(x)
        rows = seen.record.rows[head, number]
        torch.testing.assert_close(seen.record.targets[head, number], dense[rows])
        assert (number in seen.record.outputs) == (number in seen.held_out)


def test_moments_are_of_the_fitted_batches_alone(seen: Observations) -> None:
    recorder = Recorder(seen)
    for number in seen.held_out:
        recorder.observe_batch(number)
    held_out = recorder.record()
    assert held_out.outputs.keys() == {*seen.held_out}
    assert held_out.moments.keys() == seen.record.moments.keys()
    assert all(moments.count == 0 for moments in held_out.moments.values())
    assert all(moments.count > 0 for moments in seen.record.moments.values())
