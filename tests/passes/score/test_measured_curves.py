"""Curves on the scale of the network's output."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.data.calibration import gather
from graphprune.ir.trace import trace
from graphprune.passes.observe import Observations
from graphprune.passes.recover import repair
from graphprune.passes.score import measured_curves
from graphprune.passes.score.magnitude import Magnitude
from graphprune.passes.score.measured_curves import MeasuredCurve, measure
from graphprune.passes.score.obs import find_readers
from tests.passes.recover.helpers import observed


@pytest.mark.parametrize(
    "name",
    [
        "CroppedChannels",
        "EinsumMixing",
        "Experts",
        "IndexSelected",
        "LanguageModel",
        "LowRank",
        "Recurrent",
    ],
)
def test_a_group_that_no_layer_reads_costs_what_its_cut_costs(name: str) -> None:
    seen = observed(name)
    readers, curves = find_readers(seen), measure(seen, Magnitude()(seen.analysis))
    groups = [g for g in seen.analysis.groups if not readers[g.id]]
    assert groups
    for group in groups:
        curve = curves[group.id]
        for gone, error in curve.measured.items():
            cut = Cut.keeping(seen.analysis, {group.id: sorted(curve.order[gone:])})
            assert error == pytest.approx(repair(seen, cut, refitting=False).error, rel=1e-6)


falling = st.lists(st.floats(0, 10), min_size=2, max_size=10).map(sorted)


@given(falling, st.data())
def test_a_curve_goes_through_what_was_measured_and_never_rises_with_the_width(
    local: list[float], data: st.DataObject
) -> None:
    width = len(local)
    local[0] = 0.0
    gone = data.draw(st.integers(1, width - 1))
    measured = data.draw(st.floats(1e-6, 1e3))
    curve = MeasuredCurve(tuple(range(width)), np.array(local), {gone: measured})
    assert curve.repaired().tolist() == curve.interpolated().tolist()
    for found in (curve.interpolated(), curve.scaled(1.0), curve.scaled(0.0), curve.scaled(0.5)):
        assert found.shape == (width + 1,)
        assert (np.diff(found) <= 0).all()
        assert found[-1] == 0
    if local[gone] > 1e-3:
        assert curve.interpolated()[width - gone] == pytest.approx(measured)
        assert curve.scaled(1.0)[width - gone] == pytest.approx(measured)
        assert curve.scaled(0.0)[width - gone] == pytest.approx(local[gone])


def test_without_a_measurement_the_local_curve_is_all_there_is() -> None:
    curve = MeasuredCurve((2, 0, 1), np.array([0.0, 1.0, 4.0]), {})
    for found in (curve.interpolated(), curve.scaled(0.5)):
        assert found[1:].tolist() == [4, 1, 0]
        assert found[0] > 4


def test_what_is_lost_is_made_to_rise() -> None:
    assert MeasuredCurve.by_width(np.array([0.0, 3.0, 2.0]))[1:].tolist() == [3, 3, 0]


@pytest.mark.parametrize(("passes", "samples"), [(0.0, 16), (40, 40), (1e9, 128)])
def test_the_more_a_network_computes_the_fewer_samples_are_measured(
    passes: float, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = trace(
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), (torch.randn(2, 4),)
    )
    seen = Observations(analyse(program), gather([torch.randn(1000, 4)], program))
    monkeypatch.setattr(measured_curves, "WORK", passes * seen.analysis.dense_macs)
    asked: list[float] = []
    few = seen.some_held_out

    def held_out(self: Observations, count: float) -> Any:
        asked.append(count)
        return few(count)

    monkeypatch.setattr(Observations, "some_held_out", held_out)
    curves = measure(seen, Magnitude()(seen.analysis))
    assert asked == [samples]
    assert all(curve.measured for curve in curves.values())
