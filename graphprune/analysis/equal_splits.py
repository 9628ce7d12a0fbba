"""Splits into equal pieces, as ``x.chunk(2, 1)``: the groups that have to keep equally many channels.

A cut program states other sizes; the code of a model's class doesn't.
"""

from __future__ import annotations

import numpy as np

from graphprune.axes.labels import Axis

from .analyse import Analysis

__all__ = ["equal_splits"]


def equal_splits(analysis: Analysis) -> tuple[int, ...]:
    """For each group the lowest number of those that have to keep equally many channels."""
    lowest = list(range(len(analysis.groups)))
    for facts in analysis.facts.values():
        groups = [_whole_group(analysis, run) for run in facts.equal_runs]
        if None not in groups and len({len(run) for run in facts.equal_runs}) == 1:
            together = {lowest[group] for group in groups if group is not None}
            lowest = [min(together) if each in together else each for each in lowest]
    return tuple(lowest)


def _whole_group(analysis: Analysis, run: Axis) -> int | None:
    """The group whose channels a piece consists of, each once."""
    labels = analysis.labels.resolve(run)
    groups = {int(number) for number in np.unique(analysis.grouping.of_label[np.unique(labels)])}
    if (
        len(groups) != 1
        or min(groups) < 0
        or labels.shape[1] != 1
        or len(np.unique(labels)) != len(run)
    ):
        return None
    (group,) = groups
    return group if analysis.groups[group].width == len(run) else None
