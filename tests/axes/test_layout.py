"""Reshapes of small layouts, by hand."""

from __future__ import annotations

from graphprune.axes.labels import Labels, unlabelled
from graphprune.axes.layout import reshape
from tests.axes.helpers import rows


def test_reshape_takes_together_only_what_it_must() -> None:
    labels = Labels()
    channels = labels.fresh(6)
    layout = reshape(labels, (unlabelled(2), channels, unlabelled(4), unlabelled(5)), [2, 6, 20], 0)
    assert [len(axis) for axis in layout] == [2, 6, 20]
    assert layout[1] is channels


def test_reshape_with_a_merged_batch_and_back_keeps_the_channels() -> None:
    labels = Labels()
    channels = labels.fresh(6)
    merged = reshape(labels, (unlabelled(2), channels, unlabelled(4)), [12, 4], 0)
    back = reshape(labels, merged, [2, 6, 4], 0)
    assert rows(labels, back[1]) == rows(labels, channels)
    assert all(rows(labels, channels))
