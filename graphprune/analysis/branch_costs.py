"""Costs of a graph from which branches may go whole, and of one without some of its groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import fx

from graphprune.axes.polynomial import Costs, Polynomial, total

from .count_costs import count_costs

if TYPE_CHECKING:
    from .analyse import Analysis
    from .emptied import Emptied
    from .removable import Branch

__all__ = ["branch_costs", "costs_left"]

_NONE = Polynomial.constant(0)
_ONE = Polynomial.constant(1)


def branch_costs(analysis: Analysis) -> Costs:
    """Count costs that are right also where branches go whole.

    What a call costs is multiplied by a switch for each branch that takes the call along. Where branches only
    together make calls needless, these are counted still: the costs are then upper bounds.
    """
    branches = analysis.removable.branches

    def share(takes: Callable[[Branch], bool]) -> Polynomial:
        return Polynomial.switch(branch.lead for branch in branches if takes(branch))

    readers = _readers(analysis)
    found = count_costs(
        analysis.module, analysis.facts, analysis.tensors, analysis.axes, analysis.labels, analysis.grouping,
        calls=lambda node: share(lambda branch: branch.takes(node)),
        stored=lambda name: share(
            lambda branch: bool(readers[name]) and all(map(branch.takes, readers[name]))
        ),
    )  # fmt: skip
    constants = [
        part
        for branch in branches
        for size in _constant_sizes(analysis, branch.left)
        for part in (size, (size * Polynomial.switch([branch.lead])).scaled(-1))
    ]
    return _with_constants(found, total(constants))


def costs_left(analysis: Analysis, left: Emptied) -> Costs:
    """Count the costs of what is left of a graph without some groups, exactly.

    Args:
        analysis: of the dense graph.
        left: what is left of it. The widths of the groups that go are 0 in the polynomials.
    """
    readers = _readers(analysis)
    found = count_costs(
        analysis.module, analysis.facts, analysis.tensors, analysis.axes, analysis.labels, analysis.grouping,
        calls=lambda node: _ONE if left.computed(node) else _NONE,
        stored=lambda name: (
            _ONE if not readers[name] or any(map(left.computed, readers[name])) else _NONE
        ),
    )  # fmt: skip
    return _with_constants(found, total(_constant_sizes(analysis, left)))


def _constant_sizes(analysis: Analysis, left: Emptied) -> list[Polynomial]:
    """Count the elements of the constants that a cut stores."""
    return [
        analysis.grouping.size(analysis.labels.resolve(layout[left.channel(node)]))
        for node in left.stored
        if any(left.computed(user) for user in node.users)
        and isinstance(layout := analysis.layouts[node], tuple)
    ]


def _with_constants(costs: Costs, elements: Polynomial) -> Costs:
    return replace(
        costs,
        params=total([costs.params, elements]),
        weight_bytes=total([costs.weight_bytes, elements.scaled(4)]),
    )


def _readers(analysis: Analysis) -> dict[str, list[fx.Node]]:
    """List the nodes that read each stored tensor, under any of its names."""
    by_tensor: dict[int, list[fx.Node]] = {id(t): [] for t in analysis.tensors.values()}
    for node in analysis.nodes:
        if node.op == "get_attr" and node.target in analysis.tensors and node.users:
            by_tensor[id(analysis.tensors[str(node.target)])].append(node)
    return {name: by_tensor[id(tensor)] for name, tensor in analysis.tensors.items()}
