"""The sweep's order, and curves on the scale of the output."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from graphprune.passes.observe import Observations
from graphprune.passes.score import OptimalBrainSurgeon, Scores
from graphprune.passes.score.obs import eliminate_backwards, find_readers
from tests.passes.score.networks import WIDTH, Plain, analysed, images


@pytest.fixture(scope="module")
def seen() -> Observations:
    return analysed(Plain(), images(200))[1]


@pytest.fixture(scope="module")
def scores(seen: Observations) -> Scores:
    return OptimalBrainSurgeon()(seen.analysis, seen)


def test_values_are_ranks_in_the_order_of_the_sweep(seen: Observations, scores: Scores) -> None:
    for group in seen.analysis.groups:
        order = scores.order(group.id).tolist()
        assert sorted(scores.values[group.id].tolist()) == sorted(set(scores.values[group.id]))
        swept = eliminate_backwards(seen, group, find_readers(seen)[group.id]).order
        assert order == list(swept)[::-1]


def test_curves_never_rise_with_the_width(scores: Scores) -> None:
    assert scores.variants
    for curves in (scores.curves, *scores.variants.values()):
        for name, curve in curves.items():
            assert len(curve) == len(scores.values[name]) + 1
            assert (np.diff(curve) <= 0).all()
            assert curve[-1] == pytest.approx(0, abs=1e-9)


def test_a_channel_that_others_make_up_for_goes_first_and_costs_little() -> None:
    net = Plain()
    for module, names in (
        (net.a, ("weight", "bias")),
        (net.n, ("weight", "bias", "running_mean", "running_var")),
    ):
        for name in names:
            tensor = getattr(module, name).data
            tensor[5] = tensor[2]
    _, seen = analysed(net, images(200))
    found = OptimalBrainSurgeon()(seen.analysis, seen)
    order = found.order("a").tolist()
    assert {2, 5} & set(order[-2:]), "one more may be silent"
    assert not {2, 5} <= set(order[-2:])
    for curves in found.variants.values():
        assert curves["a"][WIDTH - 2] < 0.01 * curves["a"][1]


def test_how_far_it_is_can_be_told(seen: Observations) -> None:
    news: list[str] = []
    OptimalBrainSurgeon()(seen.analysis, replace(seen, progress=news.append))
    count = len(seen.analysis.groups)
    told = [each for each in news if each.startswith("score ")]
    assert told == [f"score {number + 1} of {count}" for number in range(count)]
