"""Explain why a group's channels are coupled or an axis is frozen: the chain of operator calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from graphprune.axes.labels import FROZEN
from graphprune.errors import OptionError
from graphprune.ir.nodes import source_line

from .freezing_events import coupling_classes, freezing_events
from .frozen import operator_of, reason_of

if TYPE_CHECKING:
    from .analyse import Analysis

__all__ = ["ExplanationStep", "why"]


@dataclass(frozen=True)
class ExplanationStep:
    """One operator call on the chain that explains a coupling or a frozen axis.

    Attributes:
        says: ``couples``, or the reason why the call freezes.
        operator: what is called.
        where: the user's source line, or ``""``.
    """

    says: str
    operator: str
    where: str


def why(analysis: Analysis, name: str) -> tuple[ExplanationStep, ...]:
    """Explain a group, or an axis of a parameter.

    Args:
        analysis: of the model.
        name: a group's id, ``parameter:dim``, or a parameter (its first frozen axis, or its
            first).

    Returns:
        For a group: every call that couples its first channel to others, in graph order. For a
        frozen axis: the shortest chain from its first frozen channel to what freezes it.

    Raises:
        OptionError: if there is no such group or parameter.
    """
    label, is_frozen = _label(analysis, name)
    edges = list(_edges(analysis, label, is_frozen=is_frozen))
    if not is_frozen:
        links = sorted({link for _, _, link in edges})
    else:
        graph: nx.Graph[int] = nx.Graph()
        for left, right, link in reversed(edges):  # the earliest link of a pair wins
            graph.add_edge(left, right, link=link)
        path = nx.shortest_path(graph, label, FROZEN)
        links = [graph.edges[pair]["link"] for pair in nx.utils.pairwise(path)]
    steps = [
        _step(analysis, link, last=is_frozen and i == len(links) - 1)
        for i, link in enumerate(links)
    ]
    return tuple(dict.fromkeys(steps))


def _step(analysis: Analysis, link: int, *, last: bool) -> ExplanationStep:
    node = analysis.nodes[link]
    says = reason_of(analysis, node) if last else "couples"
    return ExplanationStep(says, operator_of(node), source_line(node))


def _label(analysis: Analysis, name: str) -> tuple[int, bool]:
    """Find a label of the named group or axis, and whether it is frozen."""
    for group in analysis.groups:
        if group.id == name:
            return int(group.labels[0]), False
    tensor, _, dim = name.rpartition(":") if name.rpartition(":")[0] else (name, "", "")
    layout = analysis.axes.get(tensor)
    if layout is None or (dim and not (dim.isdigit() and int(dim) < len(layout))):
        raise OptionError(
            f"no group or parameter {name!r}",
            hint="`graphprune inspect` lists the groups; a parameter's axis is written name:dim",
        )
    axes = [layout[int(dim)]] if dim else [axis for axis in layout if axis.shape[1]]
    for axis in axes:
        frozen_rows = np.flatnonzero((analysis.labels.resolve(axis) == FROZEN).all(axis=1))
        if axis.shape[1] and len(frozen_rows):
            row = axis[frozen_rows[0]]
            return int(row[freezing_events(analysis.labels)[row].argmax()]), True
    free = [axis for axis in axes if axis.shape[1]]
    if not free:
        raise OptionError(f"{name} has no axis with more than one row")
    return int(analysis.labels.resolve(free[0])[0, 0]), False


def _edges(analysis: Analysis, label: int, *, is_frozen: bool) -> Iterator[tuple[int, int, int]]:
    """Yield the logged unions in a label's class, as (left, right, link).

    Of what a frozen label was refined into, only the part that was frozen last explains it.
    """
    roots = coupling_classes(analysis.labels)
    mine: NDArray[np.bool_] = roots == roots[label]
    last = freezing_events(analysis.labels) if is_frozen else None
    for event in analysis.labels.log:
        told = mine[event.left] | mine[event.right]
        if event.refines and last is not None:
            told &= last[event.left] == last[event.right]
        for i in np.flatnonzero(told):
            yield int(event.left[i]), int(event.right[i]), event.link
