"""Tying and merging small axes, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.axes.labels import FROZEN, Labels, unlabelled
from graphprune.axes.unify import merge, pad_columns, tie
from tests.axes.helpers import rows


def test_tie_unites_single_labels() -> None:
    labels = Labels()
    a, b = labels.fresh(3), labels.fresh(3)
    tie(labels, a, b[::-1], 0)
    assert rows(labels, a) == rows(labels, b[::-1])
    assert len(set(map(frozenset, rows(labels, a)))) == 3


def test_tie_to_a_plain_axis_freezes() -> None:
    labels = Labels()
    a = labels.fresh(3)
    tie(labels, a, unlabelled(3), 0)
    assert rows(labels, a) == [set(), set(), set()]


def test_tie_refines_a_single_label_into_a_set() -> None:
    labels = Labels()
    outer, inner, flat = labels.fresh(2), labels.fresh(3), labels.fresh(6)
    tie(labels, flat, merge([outer, inner]), 0)
    p, q = outer[:, 0], inner[:, 0]
    assert rows(labels, flat) == [{int(p[i]), int(q[j])} for i in range(2) for j in range(3)]


def test_tie_of_sets_matches_labels_that_cover_the_same_rows() -> None:
    labels = Labels()
    a, b, c, d = (labels.fresh(n) for n in (2, 3, 2, 3))
    tie(labels, merge([a, b]), merge([c, d]), 0)
    assert rows(labels, a) == rows(labels, c)
    assert rows(labels, b) == rows(labels, d)
    assert all(rows(labels, a))
    assert all(rows(labels, b))


def test_tie_of_sets_that_do_not_match_freezes_rather_than_guesses() -> None:
    labels = Labels()
    a, b, c, d = (labels.fresh(n) for n in (2, 3, 3, 2))
    tie(labels, merge([a, b]), merge([c, d]), 0)
    left, right = rows(labels, merge([a, b])), rows(labels, merge([c, d]))
    assert left == right


def test_axes_of_different_length_are_not_tied() -> None:
    labels = Labels()
    with pytest.raises(ValueError, match="can't tie 2 rows to 3"):
        tie(labels, labels.fresh(2), labels.fresh(3), 0)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_a_merged_row_holds_the_labels_of_all_its_coordinates(sizes: list[int]) -> None:
    labels = Labels()
    axes = [labels.fresh(size) for size in sizes]
    merged = merge([*axes, unlabelled(2)])
    assert merged.shape == (2 * math.prod(sizes), len(sizes))
    for row, at in zip(merged, np.ndindex(*sizes, 2), strict=True):
        expected = {int(axis[i, 0]) for axis, i in zip(axes, at, strict=False)}
        assert set(row.tolist()) == expected


@given(st.data())
def test_tied_rows_are_removed_together_whatever_was_tied_before(data: st.DataObject) -> None:
    labels = Labels()
    pool = [
        labels.fresh(6),
        merge([labels.fresh(2), labels.fresh(3)]),
        labels.fresh(6),
        unlabelled(6),
    ]
    which = st.sampled_from(range(4))
    for link, (i, j) in enumerate(data.draw(st.lists(st.tuples(which, which), max_size=5))):
        order = data.draw(st.permutations(range(6)))
        tie(labels, pool[i][order], pool[j], link)
        assert rows(labels, pool[i][order]) == rows(labels, pool[j])


def test_widening_adds_rows_of_nothing() -> None:
    axis = Labels().fresh(2)
    assert pad_columns(axis, 1) is axis
    assert pad_columns(axis, 3)[:, 1:].tolist() == [[FROZEN] * 2] * 2
