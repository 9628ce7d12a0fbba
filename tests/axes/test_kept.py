"""Which rows stay: those all of whose labels do."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphprune.axes.kept import Kept
from graphprune.axes.labels import Labels, unlabelled


@given(st.lists(st.booleans(), min_size=6, max_size=6))
def test_a_row_stays_if_all_of_its_labels_do(alive: list[bool]) -> None:
    labels = Labels()
    one, two = labels.fresh(3), labels.fresh(3)
    kept = Kept(labels, np.array([True, *alive]))
    assert kept(one).tolist() == alive[:3]
    both = np.hstack([two, one])
    assert kept(both).tolist() == [a and b for a, b in zip(alive[:3], alive[3:], strict=True)]


def test_a_row_without_labels_stays() -> None:
    labels = Labels()
    labels.fresh(2)
    kept = Kept(labels, np.array([True, False, False]))
    assert kept(unlabelled(3)).tolist() == [True] * 3
    assert kept(unlabelled(0)).tolist() == []


def test_a_frozen_row_stays_and_united_ones_go_together() -> None:
    labels = Labels()
    one, two = labels.fresh(3), labels.fresh(3)
    labels.unite(one[:, 0], two[:, 0], 0)
    labels.freeze(one[2:], 1)
    alive = np.ones(len(labels), dtype=bool)
    alive[one[0]] = alive[two[2]] = False
    kept = Kept(labels, alive)
    assert kept(one).tolist() == kept(two).tolist() == [False, True, True]
