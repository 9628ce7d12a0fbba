"""Gradients of random projections."""

from __future__ import annotations

import numpy as np
import torch

from graphprune.data.calibration import Calibration
from graphprune.passes.observe import Observations
from graphprune.passes.score import (
    Probes,
    Taylor,
)
from tests.passes.score.networks import (
    Plain,
    analysed,
    images,
)


def test_only_so_many_samples_are_used() -> None:
    analysis, seen = analysed(Plain(), images(64))
    values = Taylor(Probes(samples=30))(analysis, seen).values["a"]
    poisoned = torch.cat([batch[0] for batch in seen.batches])
    poisoned[30:] = torch.inf
    sizes = [len(batch[0]) for batch in seen.batches]
    data = Calibration(tuple((x,) for x in poisoned.split(sizes)))
    again = Taylor(Probes(samples=30))(analysis, Observations(analysis, data)).values["a"]
    np.testing.assert_array_equal(values, again)
