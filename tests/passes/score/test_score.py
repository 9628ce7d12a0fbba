"""Scoring as a pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.errors import OptionError
from graphprune.passes import CRITERIA, Analyse, Score, Scores
from graphprune.passes.observe import Observations
from graphprune.passes.score import Magnitude, count_readers
from tests.passes.score.networks import Plain, analysed, images


def test_the_default_is_magnitude_with_the_readers_of_each_group() -> None:
    analysis, _ = analysed(Plain(), images())
    state = gp.State(analysis.program).knowing(analysis)
    found = gp.Pipeline((Score(),), given=(Analysis,)).run(state)[Scores]
    np.testing.assert_array_equal(found.values["a"], Magnitude(p=2)(analysis).values["a"])
    assert found.readers == count_readers(analysis)


def test_what_a_criterion_says_of_readers_stays() -> None:
    class Own:
        needs_data = False

        def __call__(self, analysis: Analysis, seen: Observations | None = None) -> Scores:
            assert seen is None
            return Scores({g.id: np.ones(g.width) for g in analysis.groups}, readers={"a": 9})

    analysis, _ = analysed(Plain(), images())
    found = Score(Own()).run(gp.State(analysis.program).knowing(analysis))
    assert found.readers == {"a": 9}


def test_measurements_are_handed_on() -> None:
    analysis, seen = analysed(Plain(), images())
    state = gp.State(analysis.program).knowing(analysis, seen)
    found = Score(CRITERIA["variance"]).run(state)
    expected = CRITERIA["variance"](analysis, seen)
    np.testing.assert_array_equal(found.values["a"], expected.values["a"])


def test_a_criterion_that_needs_data_says_so_before_anything_is_run() -> None:
    pipeline = gp.Pipeline((Analyse(), Score(CRITERIA["taylor"])))
    program = torch.export.export(nn.Linear(3, 2), (torch.randn(2, 3),))
    with pytest.raises(OptionError, match="needs calibration data") as caught:
        pipeline.run(program)
    assert caught.value.options == ("calibration",)
