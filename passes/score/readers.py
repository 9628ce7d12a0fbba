"""Count the layers that read a group: in each of them a lost channel is missed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import fx

from graphprune.analysis.analyse import Analysis
from graphprune.ops import traits_of

__all__ = ["count_readers"]


def count_readers(analysis: Analysis) -> dict[str, int]:
    """Count the calls that contract each group's channels, but for its gates, by group id; at least 1.

    A gate computes factors for the channels that it reads, as in squeeze and excitation (Hu et al. 2018,
    arXiv:1709.01507). Where a channel goes, its factor goes with it, and what the other factors miss scales channels that
    are still there. So a channel is missed once, by the layer that reads the scaled ones. If
    gates counted, what lies inside blocks that have one would seem to matter twice as much as the stream between.
    """
    gates = _Gates(analysis)
    counts = dict.fromkeys((group.id for group in analysis.groups), 0)
    for node, facts in analysis.facts.items():
        for contraction in facts.contractions:
            for group in analysis.groups_on((contraction.axis,)):
                counts[group] += not gates.holds(node, group)
    return {name: max(count, 1) for name, count in counts.items()}


@dataclass(frozen=True)
class _Gates:
    """Finder of the calls that only compute factors for what they read."""

    analysis: Analysis

    def holds(self, reader: fx.Node, group: str) -> bool:
        """Whether all that comes of a call are factors of values of the group that it has no part in."""
        if group not in self._scaled:
            return False
        reached, node = {reader}, reader
        while (node := node.next).op != "output":
            if not reached.isdisjoint(node.all_input_nodes):
                others = (x for x in self._factors(node) if x not in reached)
                if not any(group in self._groups(x) for x in others):
                    reached.add(node)
        return reached.isdisjoint(node.all_input_nodes)

    @cached_property
    def _scaled(self) -> set[str]:
        """Groups whose values are multiplied with others: the rest have no gates."""
        nodes = self.analysis.module.graph.nodes
        return {g for node in nodes for x in self._factors(node) for g in self._groups(x)}

    @staticmethod
    def _factors(node: fx.Node) -> list[fx.Node]:
        """List the operands of a product of two values."""
        product = node.op == "call_function" and traits_of(node).arithmetic == "product"
        return node.all_input_nodes if product and len(node.all_input_nodes) == 2 else []

    def _groups(self, node: fx.Node) -> tuple[str, ...]:
        """List the groups on the axes of a value."""
        layout = self.analysis.layouts.get(node)
        return self.analysis.groups_on(layout) if isinstance(layout, tuple) else ()
