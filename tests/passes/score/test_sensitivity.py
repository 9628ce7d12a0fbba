"""Products of weights and gradients, worked out by hand."""

from __future__ import annotations

import numpy as np

from graphprune.passes.score import (
    Connection,
    OptimalBrainDamage,
    Taylor,
)
from tests.passes.score.networks import (
    EXACT,
    analysed,
    one_sample,
)


def test_taylor_sums_over_the_group_before_the_absolute_value() -> None:
    net, x, into, out = one_sample()
    expected = np.abs(into.sum(1) + out)
    found = Taylor()(*analysed(net, x)).values["a"]
    np.testing.assert_allclose(found, expected, rtol=EXACT)
    squares = Taylor(power=2)(*analysed(net, x)).values["a"]
    np.testing.assert_allclose(squares, expected**2, rtol=EXACT)


def test_snip_takes_absolute_values_first() -> None:
    net, x, into, out = one_sample()
    found = Connection()(*analysed(net, x)).values["a"]
    np.testing.assert_allclose(found, np.abs(into).sum(1) + np.abs(out), rtol=EXACT)


def test_obd_is_half_the_diagonal() -> None:
    net, x, into, out = one_sample()
    found = OptimalBrainDamage()(*analysed(net, x)).values["a"]
    np.testing.assert_allclose(found, ((into**2).sum(1) + out**2) / 2, rtol=EXACT)
