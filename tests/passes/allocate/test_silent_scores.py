"""Scores that say nothing of what a plan removes are said aloud."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.passes import Scores
from graphprune.passes.observe import Observations


class Constant:
    """A criterion that finds all channels alike."""

    needs_data: ClassVar[bool] = False

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, analysis: Analysis, observations: Observations | None = None) -> Scores:
        return Scores({g.id: np.full(g.width, self.value) for g in analysis.groups})


def plain_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_scores_that_are_all_alike_are_said_aloud(value: float) -> None:
    result = gp.compress(plain_net(), (torch.randn(2, 4),), flops=0.5, score=Constant(value))
    (alike,) = [note for note in result.report.notes if "score alike" in note]
    assert all(g.id in alike for g in result.report.groups if g.after < g.before)
    assert any("distortion of 0" in note for note in result.report.notes) is (value == 0.0)


def test_dead_channels_cost_nothing_and_that_is_said() -> None:
    dead = plain_net()
    with torch.no_grad():
        dead[0].weight[:4].zero_()
        dead[0].bias[:4].zero_()
        dead[2].weight[:, :4].zero_()
    result = gp.compress(dead, (torch.randn(2, 4),), params=0.75, protect=["2"])
    assert result.report.allocation["distortion"] == 0
    assert any("distortion of 0" in note for note in result.report.notes)
    assert not any("alike" in note for note in result.report.notes)


def test_nothing_is_said_of_a_cut_that_the_scores_decide() -> None:
    notes = gp.compress(plain_net(), (torch.randn(2, 4),), flops=0.5).report.notes
    assert not any("alike" in note or "distortion of 0" in note for note in notes)
