"""Numbers drawn: the control that any criterion should beat."""

from __future__ import annotations

import numpy as np

from graphprune.passes.score import Random
from tests import nets
from tests.analysis.helpers import analysed


def test_every_channel_has_a_number_of_its_own_in_the_range() -> None:
    analysis = analysed(nets.GroupedConv())
    found = Random()(analysis).values
    assert found.keys() == {group.id for group in analysis.groups}
    numbers = np.concatenate(list(found.values()))
    assert len(set(numbers.tolist())) == len(numbers)
    assert ((numbers >= 0) & (numbers < 1)).all()


def test_the_seed_decides_whatever_the_weights_are() -> None:
    one, other = (analysed(nets.GroupedConv()) for _ in range(2))
    for group in one.groups:
        same, again = (Random(seed=1)(each).values[group.id] for each in (one, other))
        np.testing.assert_array_equal(same, again)
        assert (same != Random(seed=2)(one).values[group.id]).all()
