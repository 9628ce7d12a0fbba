"""Splits that the model's own code makes: what it takes for its class to fit a smaller model.

A class says with ``x.chunk(2, 1)`` that its pieces are equal, and with ``x.split((48, 16), 1)`` or
``x[:, :48]`` how large they are. A cut program states other sizes; the class's code doesn't.
"""

from __future__ import annotations

import numpy as np

from graphprune.analysis import Analysis, Kept
from graphprune.labels import Axis

__all__ = ["equal_pieces", "fits"]


def equal_pieces(analysis: Analysis) -> tuple[tuple[int, ...], frozenset[int]]:
    """What groups must do so that every split is as the code makes it.

    Returns:
        For each group the lowest number of those that have to keep equally many channels; and the
        groups that have to stay whole, as no other width is sure to fit.
    """
    lowest = list(range(len(analysis.groups)))
    held: set[int] = set()
    for facts in analysis.facts.values():
        groups = [_whole_group(analysis, run) for run in facts.pieces]
        if facts.even and None not in groups and len({len(run) for run in facts.pieces}) == 1:
            together = {lowest[group] for group in groups if group is not None}
            lowest = [min(together) if each in together else each for each in lowest]
        else:
            held.update(*(_groups(analysis, run) for run in facts.pieces))
    return tuple(lowest), frozenset(held)


def fits(analysis: Analysis, kept: Kept) -> bool:
    """Whether every split is as the code makes it."""
    firsts, held = equal_pieces(analysis)
    left = [int(kept.alive[group.labels].sum()) for group in analysis.groups]
    return (all(left[i] == left[first] for i, first in enumerate(firsts))
            and all(left[i] == analysis.groups[i].width for i in held))


def _groups(analysis: Analysis, run: Axis) -> set[int]:
    labels = np.unique(analysis.labels.resolve(run))
    return {int(number) for number in np.unique(analysis.grouping.of_label[labels]) if number >= 0}


def _whole_group(analysis: Analysis, run: Axis) -> int | None:
    """The group whose channels a piece consists of, each once."""
    labels, groups = analysis.labels.resolve(run), _groups(analysis, run)
    if len(groups) != 1 or labels.shape[1] != 1 or len(np.unique(labels)) != len(run):
        return None
    (group,) = groups
    return group if analysis.groups[group].width == len(run) else None
