"""Which groups can lose all their channels, and what goes with them.

A group is removable where, with all its channels gone, every call that reads them sums over exactly that axis
or concatenates, and all outputs still depend on the inputs (``emptied.py``). What is left over then goes too,
at no cost: groups that only calls without any influence on the outputs read. A bottleneck's two inner groups
are one such *branch*: without either one the other has nothing to say.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import fx

from graphprune.ops.facts import axes_of

from .emptied import Emptied
from .find_emptied import emptied

if TYPE_CHECKING:
    from .analyse import Analysis

__all__ = ["Branch", "Removable", "find_removable", "with_idle"]


@dataclass(frozen=True)
class Branch:
    """Groups that can go whole, together.

    Attributes:
        lead: number of the group that stands for the branch: its width 0 is that of them all.
        groups: numbers of all groups that go.
        left: what is left of the graph then.
    """

    lead: int
    groups: frozenset[int]
    left: Emptied

    def takes(self, node: fx.Node) -> bool:
        """Whether a cut without the branch no longer makes a call, or reads a tensor."""
        return not self.left.computed(node)


@dataclass(frozen=True)
class Removable:
    """All branches of a graph, and why the other groups can't go.

    Attributes:
        branches: in model order. Any choice of them can go at once.
        reasons: number of each other group -> why it keeps a channel.
    """

    branches: tuple[Branch, ...]
    reasons: Mapping[int, str]

    def branch_of(self, group: int) -> Branch | None:
        """Find the branch that goes where a group goes."""
        own = [branch for branch in self.branches if group in branch.groups]
        return min(own, key=lambda branch: len(branch.groups), default=None)


def find_removable(analysis: Analysis) -> Removable:
    """Find all branches of an analysed graph."""
    branches: dict[frozenset[int], Branch] = {}
    reasons: dict[int, str] = {}
    together: frozenset[int] = frozenset()
    used = _busy(analysis, analysis.without(()))
    for number in range(len(analysis.groups)):
        if number not in used:
            reasons[number] = "no output depends on it"
            continue
        left = with_idle(analysis, [number])
        if left.trouble:
            reasons[number] = left.trouble
            continue
        if left.gone in branches:  # the last of a branch's groups is the one nearest to its end
            branches[left.gone] = Branch(number, left.gone, left)
            continue
        union = with_idle(analysis, together | left.gone)
        if union.trouble:
            reasons[number] = f"{union.trouble}, with the branches before it gone"
            continue
        together = union.gone
        branches[left.gone] = Branch(number, left.gone, left)
    return Removable(tuple(branches.values()), reasons)


def with_idle(analysis: Analysis, gone: Collection[int]) -> Emptied:
    """Find what is left of a graph without some groups, and without those that are of no use then.

    Args:
        analysis: of the graph.
        gone: numbers of groups that go.
    """
    left = emptied(analysis, gone)
    used = _busy(analysis, analysis.without(()))
    while not left.trouble:
        idle = used - left.gone - _busy(analysis, left)
        wider = emptied(analysis, left.gone | idle)
        if not idle or wider.trouble:
            break
        left = wider
    return left


def _busy(analysis: Analysis, left: Emptied) -> frozenset[int]:
    """List the groups that calls read or make which an output needs and which depend on an input."""
    nodes = {
        each
        for node in left.needed
        if node.op != "get_attr" and node not in left.constant and node not in left.empty
        for each in (node, *node.all_input_nodes)
        if each not in left.empty and each not in left.constant
    }
    axes = (axis for node in nodes for axis in axes_of(analysis.layouts.get(node)))
    return frozenset[int]().union(*map(analysis.numbers_on, axes))
