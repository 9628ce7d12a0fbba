"""Channels that can stand for each other."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from graphprune.analysis.groups import Grouping, group_labels
from tests import nets
from tests.analysis.helpers import analysed


def test_groups_are_named_after_the_layer_that_makes_them() -> None:
    analysis = analysed(nets.OptionAShortcut())
    assert [g.id for g in analysis.groups] == ["a", "b", "c"]


def axis(*rows: tuple[int, ...]) -> NDArray[np.int64]:
    return np.array(rows, dtype=np.int64)


def grouped(*axes: NDArray[np.int64], count: int) -> Grouping:
    """Of axes that each lie in a tensor of their own."""
    places = {(f"layer{number}.weight", 0): each for number, each in enumerate(axes)}
    return group_labels(axes, places, count)


def test_labels_in_the_same_company_are_one_group_and_others_are_not() -> None:
    """Labels 1 to 3 also occur in a second axis; 4 occurs in the first one alone."""
    found = grouped(axis((1,), (2,), (3,), (4,)), axis((3,), (1,), (2,)), count=5)
    assert [sorted(group.labels.tolist()) for group in found.groups] == [[1, 2, 3], [4]]
    assert found.of_label.tolist() == [-1, 0, 0, 0, 1]


def test_a_label_of_twice_as_many_rows_is_of_another_group() -> None:
    found = grouped(axis((1,), (2,), (2,), (3,)), count=4)
    assert [sorted(group.labels.tolist()) for group in found.groups] == [[1, 3], [2]]


def test_frozen_rows_belong_to_no_group() -> None:
    found = grouped(axis((1,), (0,), (2,)), count=3)
    (group,) = found.groups
    assert group.occurrences[0].rows.tolist() == [[0], [2]]
    assert found.size(axis((1,), (0,), (2,))).at([1]) == 2


def test_the_run_of_a_channel_is_what_it_has_of_neighbouring_rows_everywhere() -> None:
    heads = axis((1,), (1,), (1,), (1,), (2,), (2,), (2,), (2,))
    packed = axis(*heads.tolist(), *heads.tolist())
    pairs = axis((2,), (2,), (1,), (1,))
    for places, run in (
        ([heads], 4),
        ([packed], 4),  # queries and keys of two heads
        ([heads, pairs], 2),
        ([heads, axis((1,), (2,))], 1),
        ([heads[[0, 4, 1, 5]]], 1),  # by turns
    ):
        (group,) = grouped(*places, count=3).groups
        assert group.run == run


def test_names_that_several_groups_share_are_numbered() -> None:
    labels = axis((1,), (2,), (3,))
    places = {("a.weight", 0): labels, ("b.weight", 0): axis((1,))}
    found = group_labels(list(places.values()), places, 4)
    assert [group.id for group in found.groups] == ["a", "a#2"]


@given(st.integers(1, 5), st.integers(1, 5), st.data())
def test_the_size_of_a_merged_axis_is_what_is_left_of_it(
    outer: int, inner: int, data: st.DataObject
) -> None:
    """Two groups, and an axis with a row for each pair of their channels."""
    one = np.arange(1, outer + 1)
    two = np.arange(outer + 1, outer + inner + 1)
    pairs = axis(*((b, a) for a in one for b in two))  # rows are descending sets
    count = outer + inner
    found = grouped(one[:, None], two[:, None], pairs, count=count + 1)
    assert not len(found.irregular(pairs))
    alive = np.array([True, *data.draw(st.lists(st.booleans(), min_size=count, max_size=count))])
    widths = [int(alive[group.labels].sum()) for group in found.groups]
    assert found.size(pairs).at(widths) == alive[pairs].all(axis=1).sum()


def test_an_axis_that_lacks_a_combination_is_irregular() -> None:
    one, two = axis((1,), (2,)), axis((3,), (4,), (5,))
    whole = axis(*((b, a) for a in (1, 2) for b in (3, 4, 5)))
    found = grouped(one, two, count=6)
    assert not len(found.irregular(whole))
    assert sorted(found.irregular(whole[:-1]).tolist()) == [1, 2]  # the narrower of the two
