"""Which groups keep widths in one proportion: equal ones, or shares that a config can state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import networkx as nx

from graphprune.analysis.groups import Group
from graphprune.errors import OptionError
from graphprune.passes.solver import EqualWidths

__all__ = ["WidthTies"]


@dataclass(frozen=True)
class WidthTies:
    """Groups whose widths stay in the proportion that they have in the dense network.

    Attributes:
        groups: all groups, in model order.
        pairs: numbers of two groups each that keep their proportion.
        parts: per group, the number of equal parts that its width consists of; only whole parts are cut.
    """

    groups: tuple[Group, ...]
    pairs: tuple[tuple[int, int], ...] = ()
    parts: tuple[int, ...] = ()

    def tied(self, firsts: Sequence[int]) -> WidthTies:
        """Add ties, as the number of the first group that each group is tied to."""
        return WidthTies(self.groups, (*self.pairs, *enumerate(firsts)), self.parts)

    def in_parts(self, parts: Sequence[int]) -> WidthTies:
        """Cut only whole parts of groups: ``parts`` has their number per group."""
        return WidthTies(self.groups, self.pairs, tuple(parts))

    def matching(self, patterns: Sequence[str]) -> WidthTies:
        """Tie all groups whose ids match one of some patterns.

        Raises:
            OptionError: if a pattern matches no group, or they have unlike widths.
        """
        for pattern in patterns:
            if not any(fnmatchcase(group.id, pattern) for group in self.groups):
                raise OptionError(
                    f"no group matches the pattern {pattern!r}",
                    hint="`graphprune inspect` lists the groups",
                    options=("uniform",),
                )
        found = [
            number
            for number, group in enumerate(self.groups)
            if any(fnmatchcase(group.id, pattern) for pattern in patterns)
        ]
        first = self.groups[found[0]]
        for group in (self.groups[number] for number in found):
            if group.width != first.width:
                raise OptionError(
                    f"{first.id} has {first.width} channels and {group.id} {group.width}, so they can't "
                    "keep equally many",
                    hint="a pattern for groups of each width",
                    options=("uniform",),
                )
        return WidthTies(self.groups, (*self.pairs, *((found[0], n) for n in found)), self.parts)

    def classes(self) -> EqualWidths:
        """Return the classes of groups that are tied, directly or through others."""
        graph: nx.Graph[int] = nx.Graph()
        graph.add_nodes_from(range(len(self.groups)))
        graph.add_edges_from(self.pairs)
        firsts, steps = [0] * len(self.groups), [1] * len(self.groups)
        parts = self.parts or tuple(group.width for group in self.groups)
        for together in nx.connected_components(graph):
            shared = math.gcd(*(parts[n] for n in together), *(self._width(n) for n in together))
            for number in together:
                firsts[number] = min(together)
                steps[number] = self._width(number) // shared
        return EqualWidths.of(firsts, steps)

    def _width(self, number: int) -> int:
        return self.groups[number].width
