"""Sort groups by the code that reads them: what one block's code can follow, that of its equals mostly can too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from graphprune.ops.facts import axes_of

if TYPE_CHECKING:
    from graphprune.analysis.analyse import Analysis

__all__ = ["Unit", "unit_kinds"]

Unit = tuple[int, ...]
"""Numbers of groups that keep equal shares of their channels; of groups of one width, equally many."""


def unit_kinds(analysis: Analysis, units: Sequence[Unit]) -> list[list[Unit]]:
    """Sort units into kinds: those that pass through the same lines of code, at the same places in them.

    Args:
        analysis: of the dense program.
        units: in model order, which is kept.
    """
    places = _places(analysis)
    kinds: dict[frozenset[tuple[str, str, int]], list[Unit]] = {}
    for unit in units:
        kinds.setdefault(frozenset().union(*(places[number] for number in unit)), []).append(unit)
    return list(kinds.values())


def _places(analysis: Analysis) -> dict[int, set[tuple[str, str, int]]]:
    """Collect for each group the calls whose results it is in: stack of the call, operator, dimension."""
    found: dict[int, set[tuple[str, str, int]]] = defaultdict(set)
    for node in analysis.module.graph.nodes:
        if node.op != "call_function" or node not in analysis.layouts:
            continue
        stack = str(node.meta.get("stack_trace") or "")
        for dim, axis in enumerate(axes_of(analysis.layouts[node])):
            for number in analysis.numbers_on(axis):
                found[number].add((stack, str(node.target), dim))
    return found
