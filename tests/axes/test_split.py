"""Splitting small axes, by hand."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphprune.axes.labels import FROZEN, Labels, unlabelled
from graphprune.axes.split import split
from graphprune.axes.unify import merge
from tests.axes.helpers import rows


def test_split_gives_whole_slices_to_their_axis() -> None:
    labels = Labels()
    channels = labels.fresh(4)
    outer, inner = split(labels, merge([channels, unlabelled(3)]), [4, 3], 0)
    assert rows(labels, outer) == rows(labels, channels)
    assert rows(labels, inner) == [set()] * 3


def test_split_refines_labels_of_one_cell_into_a_product() -> None:
    labels = Labels()
    channels = labels.fresh(6)
    outer, inner = split(labels, channels, [2, 3], 0)
    assert all(len(row) == 1 for row in [*rows(labels, outer), *rows(labels, inner)])
    assert rows(labels, channels) == rows(labels, merge([outer, inner]))


def test_split_of_misaligned_labels_ties_along_the_largest_axis() -> None:
    labels = Labels()
    pairs = labels.fresh(6)
    axis = np.concatenate([np.repeat(pairs[:3], 2, axis=0), np.repeat(pairs[3:], 2, axis=0)])
    outer, inner = split(labels, axis, [3, 4], 0)
    assert rows(labels, merge([outer, inner])) == rows(labels, axis)


def test_split_freezes_labels_that_reach_every_row_of_every_axis() -> None:
    labels = Labels()
    pair = labels.fresh(2)
    axis = pair[[0, 1, 1, 0]]
    outer, inner = split(labels, axis, [2, 2], 0)
    assert rows(labels, merge([outer, inner])) == rows(labels, axis) == [set()] * 4


@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.data())
def test_split_rows_are_those_of_the_axis_again(sizes: list[int], data: st.DataObject) -> None:
    labels, count = Labels(), math.prod(sizes)
    pool = np.concatenate([[[FROZEN]], labels.fresh(4)])
    chosen = data.draw(st.lists(st.integers(0, 4), min_size=count, max_size=count))
    axis = pool[chosen]
    parts = split(labels, axis, sizes, 0)
    assert [len(part) for part in parts] == sizes
    assert rows(labels, merge(parts)) == rows(labels, axis)


def test_an_axis_without_labels_gives_axes_without() -> None:
    assert [part.shape for part in split(Labels(), unlabelled(6), [2, 3], 0)] == [(2, 0), (3, 0)]


def test_frozen_labels_stay_attached_for_the_explanation() -> None:
    labels = Labels()
    channels = labels.fresh(6)
    labels.freeze(channels, 7)
    outer, single, inner = split(labels, channels, [2, 1, 3], 8)
    assert (outer[:, 0] == channels[[0, 3], 0]).all()
    assert (inner[:, 0] == channels[:3, 0]).all()
    assert single.shape == (1, 0)
    assert rows(labels, outer) == [set(), set()]
