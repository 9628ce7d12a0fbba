"""Shares of what is not smaller."""

from __future__ import annotations

import numpy as np
import torch

from graphprune.passes.score import (
    LayerAdaptive,
    Magnitude,
)
from tests.passes.score.networks import (
    EXACT,
    Plain,
    TwoLinears,
    analysed,
    images,
)


def test_lamp_is_the_share_of_what_is_not_smaller() -> None:
    analysis, _ = analysed(Plain(), images())
    energy = Magnitude(p=2)(analysis).values["a"]
    expected = [e / energy[energy >= e].sum() for e in energy]
    found = LayerAdaptive()(analysis).values["a"]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found.max() == 1


def test_lamp_does_not_depend_on_the_scale_of_a_layer() -> None:
    net, scaled = TwoLinears(), TwoLinears()
    for module in (scaled.a, scaled.b):
        module.weight.data *= 8
    values = [LayerAdaptive()(analysed(n, torch.randn(2, 5))[0]).values["a"] for n in (net, scaled)]
    np.testing.assert_allclose(*values, rtol=EXACT)
