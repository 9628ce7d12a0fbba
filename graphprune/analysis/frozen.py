"""Channels that can't be cut, and why: read off the log of links, with the user's source lines."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from graphprune.axes.labels import FROZEN, Labels
from graphprune.ir.keep_axes import KEEP_AXES
from graphprune.ir.nodes import called_name, source_line
from graphprune.ir.whole_node import WHOLE_NODE, node_name

from .freezing_events import freezing_events

if TYPE_CHECKING:
    from torch import fx

    from graphprune.axes.labels import Axis
    from graphprune.ops import Facts

    from .analyse import Analysis

__all__ = ["Frozen", "frozen", "operator_of", "reason_of", "unknown_operators"]


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
    """List what is frozen on channel axes of parameters, largest share of the MACs first.

    These are the axes of operators that cost MACs, those behind weights that are computed from
    parameters, and parameters of which nothing can be cut for a reason that isn't among these.
    """
    found = _FrozenAxes(analysis)
    for node, facts in analysis.facts.items():
        if facts.macs:
            found.read(node, facts)
    found.read_rest()
    axes, shares = found.axes, found.macs
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
            shares.get(link, 0.0) / total,
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


class _FrozenAxes:
    """Collector of the frozen axes of parameters, by the link that froze them.

    Attributes:
        axes: link -> name of each parameter axis -> how many of its rows it froze.
        macs: link -> the MACs of the calls that have such an axis.
    """

    def __init__(self, analysis: Analysis) -> None:
        self.axes: dict[int, dict[str, int]] = {}
        self.macs: dict[int, float] = {}
        self._analysis = analysis
        self._events = freezing_events(analysis.labels)
        self._computed = _computed(analysis)
        self._own = {
            (name, dim): axis
            for name, layout in analysis.axes.items()
            for dim, axis in enumerate(layout)
            if axis.shape[1]
        }
        self._names = {id(axis): key for key, axis in reversed(self._own.items())}

    def read(self, node: fx.Node, facts: Facts) -> None:
        """Collect the frozen axes of one call's operands."""
        links: set[int] = set()
        for axis in {id(a): a for term in facts.macs for a in term.axes}.values():
            own = self._names.get(id(axis))
            links.update(self._add([own] if own else self._behind(node, axis)))
        macs = self._analysis.macs_of(node).at(self._analysis.widths) if links else 0.0
        for link in links:
            self.macs[link] = self.macs.get(link, 0.0) + macs

    def read_rest(self) -> None:
        """Collect parameters that are frozen whole for reasons that were not met yet."""
        met = set(self.axes)
        for name, layout in self._analysis.axes.items():
            keys = [(name, dim) for dim, axis in enumerate(layout) if axis.shape[1]]
            whole = all(not self._analysis.labels.resolve(self._own[key]).shape[1] for key in keys)
            is_parameter = isinstance(self._analysis.tensors[name], torch.nn.Parameter)
            if is_parameter and whole and not met & {x for key in keys for x in self._links(key)}:
                self._add(keys)

    def _add(self, keys: Iterable[tuple[str, int]]) -> set[int]:
        """Enter the frozen rows of some axes, and return the links that froze them."""
        links: set[int] = set()
        for name, dim in keys:
            for link, count in self._links((name, dim)).items():
                self.axes.setdefault(link, {})[f"{name}:{dim}"] = count
                links.add(link)
        return links

    def _links(self, key: tuple[str, int]) -> dict[int, int]:
        return _links(self._analysis.labels, self._events, self._own[key])

    def _behind(self, node: fx.Node, axis: Axis) -> list[tuple[str, int]]:
        """List the axes of stored tensors that were frozen with an axis of a weight computed from them."""
        if not axis.shape[1]:
            return []
        links = _links(self._analysis.labels, self._events, axis).keys()
        sources = _sources(node, self._computed)
        keys = [key for key in self._own if key[0] in sources and links & self._links(key).keys()]
        return [key for key in keys if len(self._own[key]) == len(axis)] or keys


def _computed(analysis: Analysis) -> set[fx.Node]:
    """Find the calls that depend on stored tensors alone, those that write into some of them included."""
    found: set[fx.Node] = set()
    for node in analysis.nodes:
        inputs = node.all_input_nodes
        if inputs and all(n in found or n.op == "get_attr" for n in inputs):
            found.add(node)
    return found


def _sources(node: fx.Node, computed: Collection[fx.Node]) -> set[str]:
    """Find the stored tensors that a call's operands are computed from, by calls on such alone."""
    sources: set[str] = set()
    seen = {n for n in node.all_input_nodes if n in computed}
    pending = list(seen)
    while pending:
        call = pending.pop()
        if call.op == "get_attr":
            sources.add(str(call.target))
        new = [n for n in call.all_input_nodes if n not in seen]
        seen.update(new)
        pending += new
    return sources


def _links(labels: Labels, events: NDArray[np.int64], axis: Axis) -> dict[int, int]:
    """Count the frozen rows of an axis by the link that froze them: the last of a row's labels to be frozen."""
    resolved = labels.resolve(axis)
    empty = (resolved == FROZEN).all(axis=1) if resolved.shape[1] else np.ones(len(axis), bool)
    last, counts = np.unique(events[axis[empty]].max(axis=1), return_counts=True)
    links: dict[int, int] = {}
    for event, count in zip(last.tolist(), counts.tolist(), strict=True):
        if event >= 0:
            link = labels.log[event].link
            links[link] = links.get(link, 0) + count
    return links


def _is_unknown(analysis: Analysis, node: fx.Node) -> bool:
    return node in analysis.facts and not analysis.facts[node].known


def operator_of(node: fx.Node) -> str:
    """Name the operator that a node calls, ``aten.relu.default``, or the kind of node it is.

    What runs whole in onnxruntime, or keeps axes for its own sake, is named as the ONNX file names it.
    """
    if node.target is WHOLE_NODE:
        return node_name(str(node.args[1]))
    if node.target is KEEP_AXES:
        return str(node.args[2])
    return called_name(node) if node.op == "call_function" else node.op


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
    because = analysis.facts[node].because if node in analysis.facts else ""
    return f"{operator_of(node)} {because or 'needs the axis whole'}"
