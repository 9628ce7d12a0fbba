"""What the tests of axes look at."""

from __future__ import annotations

from graphprune.axes.labels import Axis, Labels


def rows(labels: Labels, axis: Axis) -> list[set[int]]:
    """Rows as sets of live labels."""
    return [set(row.tolist()) - {0} for row in labels.resolve(axis)]
