"""Groups that must keep equally many channels, or equal shares, because code splits an axis into runs of rows.

A cut program may split ``x.chunk(2, 1)`` into runs of unequal lengths, since its sizes are rewritten; the
code of the model's own class can't. Whether it can split by other sizes than equal ones isn't known before it is tried.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import networkx as nx
import numpy as np
from torch import fx

from graphprune.axes.labels import Axis

from .analyse import Analysis

__all__ = ["equal_splits", "split_together"]


def equal_splits(analysis: Analysis) -> tuple[int, ...]:
    """Find which groups must have equal widths for splits into equal runs to stay equal.

    Returns:
        For each group the lowest number (index) of the groups that must keep as many channels.
    """
    lowest = list(range(len(analysis.groups)))
    for facts in analysis.facts.values():
        if facts.equal_runs and len({len(run) for run in facts.runs}) == 1:
            together = {lowest[group] for group in _whole_groups(analysis, facts.runs)}
            lowest = [min(together) if group in together else group for group in lowest]
    return tuple(lowest)


def split_together(analysis: Analysis) -> list[tuple[int, ...]]:
    """List the groups that are split off the same axes, directly or through others, by calls of any kind.

    Code that computes the lengths of the parts, or holds one length for all of them, follows a cut in which these
    groups keep their proportions.
    """
    graph: nx.Graph[int] = nx.Graph()
    for runs in _parts(analysis):
        nx.add_path(graph, _whole_groups(analysis, runs))
    found = (tuple(sorted(each)) for each in nx.connected_components(graph) if len(each) > 1)
    return sorted(found)


def _parts(analysis: Analysis) -> Iterator[Sequence[Axis]]:
    """Yield the parts that are taken out of one value: by one call that splits, or by several that take a slice each."""
    slices: dict[fx.Node, list[Axis]] = defaultdict(list)
    for node, facts in analysis.facts.items():
        if len(facts.runs) > 1:
            yield facts.runs
        elif facts.runs:
            slices[_sliced(analysis, node)] += facts.runs
    yield from slices.values()


def _sliced(analysis: Analysis, node: fx.Node) -> fx.Node:
    """Return what a slice is taken of, also where slices of other axes, or of all of one, stand between."""
    source = node.all_input_nodes[0]
    while source.target is node.target and not analysis.facts[source].runs:
        source = source.all_input_nodes[0]
    return source


def _whole_groups(analysis: Analysis, runs: Sequence[Axis]) -> list[int]:
    """List the groups whose channels some runs of rows hold, one group each; none if a run isn't one group."""
    groups = [_whole_group(analysis, run) for run in runs]
    return [] if None in groups else [group for group in groups if group is not None]


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
