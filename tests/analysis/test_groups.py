"""Channels that can stand for each other."""

from __future__ import annotations

from tests import nets
from tests.analysis.helpers import analysed


def test_groups_are_named_after_the_layer_that_makes_them() -> None:
    analysis = analysed(nets.OptionAShortcut())
    assert [g.id for g in analysis.groups] == ["a", "b", "c"]
