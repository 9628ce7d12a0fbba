"""The axis algebra on small axes, by hand."""

from __future__ import annotations

import numpy as np

from graphprune.axes.labels import Axis, Labels, plain
from graphprune.axes.layout import reshape
from graphprune.axes.split import split
from graphprune.axes.unify import merge, tie


def rows(labels: Labels, axis: Axis) -> list[set[int]]:
    """Rows as sets of live labels."""
    return [set(row.tolist()) - {0} for row in labels.resolve(axis)]


def test_tie_unites_single_labels() -> None:
    labels = Labels()
    a, b = labels.fresh(3), labels.fresh(3)
    tie(labels, a, b[::-1], 0)
    assert rows(labels, a) == rows(labels, b[::-1])
    assert len(set(map(frozenset, rows(labels, a)))) == 3


def test_tie_to_a_plain_axis_freezes() -> None:
    labels = Labels()
    a = labels.fresh(3)
    tie(labels, a, plain(3), 0)
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


def test_split_gives_whole_slices_to_their_axis() -> None:
    labels = Labels()
    channels = labels.fresh(4)
    outer, inner = split(labels, merge([channels, plain(3)]), [4, 3], 0)
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


def test_reshape_takes_together_only_what_it_must() -> None:
    labels = Labels()
    channels = labels.fresh(6)
    layout = reshape(labels, (plain(2), channels, plain(4), plain(5)), [2, 6, 20], 0)
    assert [len(axis) for axis in layout] == [2, 6, 20]
    assert layout[1] is channels


def test_reshape_with_a_merged_batch_and_back_keeps_the_channels() -> None:
    labels = Labels()
    channels = labels.fresh(6)
    merged = reshape(labels, (plain(2), channels, plain(4)), [12, 4], 0)
    back = reshape(labels, merged, [2, 6, 4], 0)
    assert rows(labels, back[1]) == rows(labels, channels)
    assert all(rows(labels, channels))


def test_freezing_is_final_and_spreads() -> None:
    labels = Labels()
    a, b = labels.fresh(3), labels.fresh(3)
    tie(labels, a, b, 0)
    labels.freeze(a[1:2], 1)
    assert [bool(row) for row in rows(labels, b)] == [True, False, True]
