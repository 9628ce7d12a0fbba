"""What a rule says of a call, and shares of what is left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.axes.kept import Kept
from graphprune.axes.labels import Labels, unlabelled
from graphprune.ops.facts import Contraction, axes_of, resized, share

masks = st.lists(st.booleans(), min_size=1, max_size=8)


@given(masks, masks)
def test_a_share_is_that_of_the_elements_that_are_left(one: list[bool], two: list[bool]) -> None:
    labels = Labels()
    axes = labels.fresh(len(one)), labels.fresh(len(two))
    kept = Kept(labels, np.array([True, *one, *two]))
    left = np.outer(kept(axes[0]), kept(axes[1]))
    assert share(kept, axes) == pytest.approx(left.mean())
    assert share(kept, []) == 1
    assert share(kept, [unlabelled(3)]) == 1
    assert share(kept, [unlabelled(0), axes[0]]) == pytest.approx(np.mean(one))


def test_sizes_of_whole_axes_stay_as_they_are_written() -> None:
    labels = Labels()
    channels = labels.fresh(4)
    kept = Kept(labels, np.array([True, True, False, True, False]))
    assert resized([-1, 4, 7], (unlabelled(2), channels, unlabelled(7)), kept) == [-1, 2, 7]
    assert resized([-1], (channels,), kept) == [2]
    with pytest.raises(ValueError, match="zip"):
        resized([1, 2], (channels,), kept)


def test_axes_of_one_result_of_several_and_of_none() -> None:
    a, b, c = unlabelled(1), unlabelled(2), unlabelled(3)
    assert [len(axis) for axis in axes_of((a, b))] == [1, 2]
    assert [len(axis) for axis in axes_of([(a,), (), (b, c)])] == [1, 2, 3]
    assert axes_of(None) == axes_of(()) == axes_of([]) == []


def test_an_operand_is_read_and_replaced_alone_or_in_a_list() -> None:
    alone, item = (
        Contraction("weight", 1, unlabelled(2)),
        Contraction("tensors", 0, unlabelled(2), item=1),
    )
    given = ["x", "y"]
    values = {"weight": "w", "tensors": given}
    assert (alone.operand(values), item.operand(values)) == ("w", "y")
    alone.replace(values, "v")
    item.replace(values, "z")
    assert values == {"weight": "v", "tensors": ["x", "z"]}
    assert given == ["x", "y"], "the list of the call itself stays"
