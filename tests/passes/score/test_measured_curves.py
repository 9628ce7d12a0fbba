"""Curves on the scale of the network's output."""

from __future__ import annotations

import pytest

from graphprune.cut.cut import Cut
from graphprune.passes.recover import repair
from graphprune.passes.score.magnitude import Magnitude
from graphprune.passes.score.measured_curves import measure
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
        "UnusedParameters",
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
            cut = Cut.of(seen.analysis, {group.id: sorted(curve.order[gone:])})
            assert error == pytest.approx(repair(seen, cut, refitting=False).error, rel=1e-6)
