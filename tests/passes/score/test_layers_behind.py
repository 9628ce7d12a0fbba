"""What the layers behind a group make up for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.data.calibration import gather
from graphprune.ir.trace import trace
from graphprune.passes.observe import Observations
from graphprune.passes.recover import QUICK, repair
from graphprune.passes.score import layers_behind
from graphprune.passes.score.layers_behind import with_layers_behind
from graphprune.passes.score.magnitude import Magnitude
from graphprune.passes.score.measured_curves import MeasuredCurve, measure
from tests.passes.recover.helpers import observed


class Stream(nn.Module):
    """Blocks on one stream, and a layer behind them that sees what they leave out."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 8)) for _ in range(blocks)
        )
        self.last = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


def seen(blocks: int, samples: int) -> Observations:
    torch.manual_seed(0)
    program = trace(Stream(blocks), (torch.randn(2, 10, 8),))
    return Observations(analyse(program), gather([torch.randn(samples, 10, 8)], program))


@pytest.mark.parametrize("samples", [60, 400])
@pytest.mark.parametrize("blocks", [1, 3])
def test_the_curve_is_that_of_a_network_whose_layers_behind_are_refitted(
    blocks: int, samples: int
) -> None:
    observations = seen(blocks, samples)
    plain = measure(observations, Magnitude()(observations.analysis))
    curves = with_layers_behind(observations, plain)
    few = Observations(observations.analysis, observations.data.few(layers_behind.SAMPLES))
    for group in few.analysis.groups:
        curve, points = curves[group.id], plain[group.id].interpolated()
        errors = [
            repair(
                few,
                Cut.keeping(few.analysis, {group.id: sorted(curve.order[group.width - width :])}),
                fitted=few.fitted[::2],
                search=QUICK,
            ).error
            for width in range(1, group.width)
        ]
        least = [min(*each) for each in zip(errors, points[1:-1], strict=True)]
        same = np.isclose(curve.repaired()[1:-1], least, rtol=1e-3) & (points[1:-1] > 0)
        assert same.any(), "at the width where it was measured"
        assert 0 < curve.mended <= 1
    assert min(curve.mended for curve in curves.values()) < 0.9


def test_between_the_groups_that_are_measured_it_is_interpolated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    observations = seen(5, 100)
    plain = measure(observations, Magnitude()(observations.analysis))
    monkeypatch.setattr(layers_behind, "PLACES", 3)
    given = iter([0.1, 0.4, 0.9])
    monkeypatch.setattr(layers_behind, "_factor", lambda *_: next(given))
    names = [f"blocks.{i}.0" for i in range(5)]
    curves = with_layers_behind(observations, plain)
    found = [curves[name].mended for name in names]
    assert found == pytest.approx([0.1, 0.2, 0.4, 0.6, 0.9])


def test_behind_groups_for_which_nothing_is_made_up_it_is_not_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    observations = seen(8, 100)
    plain = measure(observations, Magnitude()(observations.analysis))
    given = iter([0.4, 0.99, 0.6, None, 0.96, 0.98])
    monkeypatch.setattr(layers_behind, "_factor", lambda *_: next(given))
    curves = with_layers_behind(observations, plain)
    found = [curves[f"blocks.{i}.0"].mended for i in range(8)]
    assert found == pytest.approx([0.4, 0.99, 0.6, (0.6 * 0.96) ** 0.5, 0.96, 0.98, 0.98, 0.98])


@pytest.mark.parametrize("name", ["Recurrent", "LanguageModel", "EinsumMixing", "NormedResidual"])
def test_every_kind_of_network_gets_factors_of_at_most_one(name: str) -> None:
    observations = observed(name)
    plain = measure(observations, Magnitude()(observations.analysis))
    for group, curve in with_layers_behind(observations, plain).items():
        assert 0 < curve.mended <= 1
        assert curve.order == plain[group].order


def test_groups_whose_cut_costs_nothing_or_all_at_once_mislead_no_others() -> None:
    observations = seen(2, 200)
    few = Observations(observations.analysis, observations.data.few(layers_behind.SAMPLES))
    group, *_ = few.analysis.groups
    order, gone = tuple(range(group.width)), np.arange(group.width)
    free = MeasuredCurve(order, np.zeros(group.width), {})
    assert layers_behind._factor(few, free, group, 0) is None
    step = MeasuredCurve(order, np.where(gone > 4, 1e9, 0.0), {})
    found = layers_behind._factor(few, step, group, 0)
    assert found is not None
    assert found < 1e-6, "measured with five channels less, beside what the curve says of that"
