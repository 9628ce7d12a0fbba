"""Channels that can't be cut, and why: read off the log of links, with the user's source lines."""

from __future__ import annotations

from dataclasses import dataclass
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphprune.axes.labels import FROZEN, Labels
from graphprune.ir.nodes import source_line

if TYPE_CHECKING:
    from torch import fx

    from graphprune.axes.labels import Axis

    from .analyse import Analysis

__all__ = ["Frozen", "coupling_classes", "frozen", "operator_of", "reason_of", "unknown_operators"]


@dataclass(frozen=True)
class Frozen:
    """Channels that can't be cut for one and the same reason.

    Attributes:
        reason: why they are frozen.
        operator: the call that freezes them, ``aten.softmax.int``.
        where: the user's source line of that call, or ``""``.
        axes: the parameter axes, ``name:dim``.
        channels: how many channels, over all these axes.
        macs_share: share of the dense MACs in operators that have such an axis.
        unknown: whether the reason is a missing operator rule.
    """

    reason: str
    operator: str
    where: str
    axes: tuple[str, ...]
    channels: int
    macs_share: float
    unknown: bool


def unknown_operators(analysis: Analysis) -> list[fx.Node]:
    """List the calls of operators without a rule, in graph order."""
    return [node for node, facts in analysis.facts.items() if not facts.known]


def frozen(analysis: Analysis) -> tuple[Frozen, ...]:
    """List what is frozen on channel axes of operators that cost MACs, largest share first."""
    first = _first_freeze(analysis.labels)
    names = _axis_names(analysis)
    shares: dict[int, float] = {}
    axes: dict[int, dict[str, int]] = {}
    for node, facts in analysis.facts.items():
        freezing: set[int] = set()
        for axis in {id(a): a for term in facts.macs for a in term.axes}.values():
            if id(axis) not in names:
                continue
            links, counts = _links(analysis.labels, first, axis)
            freezing.update(links)
            for link, count in zip(links, counts, strict=True):
                axes.setdefault(link, {})[names[id(axis)]] = count
        macs = analysis.macs_of(node).at(analysis.widths) if freezing else 0.0
        for link in freezing:
            shares[link] = shares.get(link, 0.0) + macs
    total = max(analysis.dense_macs, 1.0)
    entries: dict[tuple[str, str, str], Frozen] = {}
    for link, where in axes.items():
        node = analysis.nodes[link]
        entry = Frozen(
            reason_of(analysis, node),
            operator_of(node),
            source_line(node),
            tuple(where),
            sum(where.values()),
            shares[link] / total,
            _is_unknown(analysis, node),
        )
        key = (entry.reason, entry.operator, entry.where)
        entries[key] = _joined(entries[key], entry) if key in entries else entry
    return tuple(sorted(entries.values(), key=lambda f: (-f.macs_share, f.reason, f.where)))


def _joined(a: Frozen, b: Frozen) -> Frozen:
    return Frozen(
        a.reason,
        a.operator,
        a.where,
        tuple(dict.fromkeys((*a.axes, *b.axes))),
        a.channels + b.channels,
        min(a.macs_share + b.macs_share, 1.0),
        a.unknown,
    )


def _axis_names(analysis: Analysis) -> dict[int, str]:
    named = (
        (name, dim, axis)
        for name, layout in analysis.axes.items()
        for dim, axis in enumerate(layout)
        if axis.shape[1]
    )
    return {id(axis): f"{name}:{dim}" for name, dim, axis in reversed(list(named))}


def coupling_classes(labels: Labels) -> NDArray[np.int64]:
    """Number the classes of coupled labels, whether or not they are frozen.

    Returns:
        ``[labels]``: equal numbers for labels that unions connect, those with the frozen label left out.
    """
    classes = Labels()
    classes.fresh(len(labels) - 1)
    for event in labels.log:
        between = (event.left != FROZEN) & (event.right != FROZEN)
        classes.unite(event.left[between], event.right[between], 0)
    return classes.find(np.arange(len(labels)))


def _first_freeze(labels: Labels) -> NDArray[np.int64]:
    """Find for each label the link that froze its class first; -1: not frozen."""
    roots = coupling_classes(labels)
    order = np.full(len(labels), np.iinfo(np.int64).max)
    for number, event in enumerate(labels.log):
        united = np.where(event.left == FROZEN, event.right, event.left)
        united = united[(event.left == FROZEN) | (event.right == FROZEN)]
        np.minimum.at(order, roots[united], number)
    links = np.asarray([event.link for event in labels.log] or [-1])
    known = order[roots] < len(labels.log)
    return np.where(known, links[np.where(known, order[roots], 0)], -1)


def _links(labels: Labels, first: NDArray[np.int64], axis: Axis) -> tuple[list[int], list[int]]:
    resolved = labels.resolve(axis)
    empty = (resolved == FROZEN).all(axis=1) if resolved.shape[1] else np.ones(len(axis), bool)
    links, counts = np.unique(first[axis[empty, 0]], return_counts=True)
    known = links >= 0
    return links[known].tolist(), counts[known].tolist()


def _is_unknown(analysis: Analysis, node: fx.Node) -> bool:
    return node in analysis.facts and not analysis.facts[node].known


def operator_of(node: fx.Node) -> str:
    """Name the operator that a node calls, ``aten.relu.default``, or the kind of node it is."""
    target: Any = node.target
    if node.op != "call_function":
        return node.op
    return target.__name__ if isinstance(target, FunctionType) else str(target)


def reason_of(analysis: Analysis, node: fx.Node) -> str:
    """Say in a few words why a node freezes axes."""
    if node.op == "output":
        return "model output"
    if _is_unknown(analysis, node):
        return f"no rule for {operator_of(node)}"
    if node.op == "placeholder":
        return f"model input {node.target}"
    if node in analysis.facts and analysis.facts[node].mixes:
        opens = "; allow_inexact cuts through it" if analysis.facts[node].opens else ""
        return f"mix: {operator_of(node)} takes statistics over the axis{opens}"
    return f"{operator_of(node)} needs the axis whole"
