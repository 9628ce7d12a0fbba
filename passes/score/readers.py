"""Count the layers that read a group: in each of them a lost channel is missed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import fx

from graphprune.analysis.analyse import Analysis
from graphprune.axes.labels import Axis
from graphprune.ops import traits_of

__all__ = ["count_readers"]


def count_readers(analysis: Analysis) -> dict[str, int]:
    """Count the calls that contract each group's channels, but for its gates, by group id; at least 1.

    A gate computes factors for the channels that it reads, as in squeeze and excitation (Hu et al. 2018,
    arXiv:1709.01507). Where a channel goes, its factor goes with it, and what the other factors miss scales channels that
    are still there. So a channel is missed once, by the layer that reads the scaled ones. If
    gates counted, what lies inside blocks that have one would seem to matter twice as much as the stream between.
    """
    readers = _Readers(analysis)
    counts = dict.fromkeys((group.id for group in analysis.groups), 0)
    for node, facts in analysis.facts.items():
        for contraction in facts.contractions:
            for group in readers.groups((contraction.axis,)):
                counts[analysis.groups[group].id] += not readers.is_gate(node, group)
    return {name: max(count, 1) for name, count in counts.items()}


@dataclass(frozen=True)
class _Readers:
    """Finder of what becomes of what calls read."""

    analysis: Analysis

    def groups(self, axes: Sequence[Axis]) -> list[int]:
        """List the numbers of the groups that lie on some axes."""
        labels = self.analysis.labels
        found = {
            int(n)
            for a in axes
            for n in self.analysis.grouping.of_label[np.unique(labels.resolve(a))]
        }
        return sorted(found - {-1})

    def is_gate(self, reader: fx.Node, group: int) -> bool:
        """Whether all that comes of a call are factors of values of the group that it has no part in."""
        if group not in self._scaled:
            return False
        reached = {reader}
        for node in self._after(reader):
            own = [operand for operand in node.all_input_nodes if operand in reached]
            if not own:
                continue
            if node.op == "output":
                return False
            if not any(group in self._held(x) for x in self._factors(node) if x not in reached):
                reached.add(node)
        return True

    @cached_property
    def _nodes(self) -> list[fx.Node]:
        return list(self.analysis.module.graph.nodes)

    @cached_property
    def _position(self) -> dict[fx.Node, int]:
        return {node: number for number, node in enumerate(self._nodes)}

    def _after(self, node: fx.Node) -> Iterator[fx.Node]:
        yield from self._nodes[self._position[node] + 1 :]

    @cached_property
    def _scaled(self) -> set[int]:
        """Groups whose values are multiplied with others: the rest have no gates."""
        return {g for node in self._nodes for x in self._factors(node) for g in self._held(x)}

    @staticmethod
    def _factors(node: fx.Node) -> list[fx.Node]:
        """List the operands of a product of two values."""
        product = node.op == "call_function" and traits_of(node).arithmetic == "product"
        return node.all_input_nodes if product and len(node.all_input_nodes) == 2 else []

    def _held(self, node: fx.Node) -> list[int]:
        """List the groups on the axes of a value."""
        layout = self.analysis.layouts.get(node)
        return self.groups(layout) if isinstance(layout, tuple) else []
