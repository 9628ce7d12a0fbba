"""Groups that must keep equally many channels, because code splits an axis into equal runs of rows.

A cut program may split ``x.chunk(2, 1)`` into runs of unequal lengths, since its sizes are rewritten; the
code of the model's own class can't.
"""

from __future__ import annotations

import numpy as np

from graphprune.axes.labels import Axis

from .analyse import Analysis

__all__ = ["equal_splits"]


def equal_splits(analysis: Analysis) -> tuple[int, ...]:
    """Find which groups must have equal widths for splits into equal runs to stay equal.

    Returns:
        For each group the lowest number (index) of the groups that must keep as many channels.
    """
    lowest = list(range(len(analysis.groups)))
    for facts in analysis.facts.values():
        groups = [_whole_group(analysis, run) for run in facts.equal_runs]
        if None not in groups and len({len(run) for run in facts.equal_runs}) == 1:
            together = {lowest[group] for group in groups if group is not None}
            lowest = [min(together) if group in together else group for group in lowest]
    return tuple(lowest)


def _whole_group(analysis: Analysis, run: Axis) -> int | None:
    """Find the group of which a run of rows holds every channel exactly once, if there is one."""
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
