"""Find the groups of channels of a graph, their costs, and what is frozen.

Propagation (``propagate.py``) visits every node in order, applies the rule of its operator to the layouts of its
inputs, and is repeated to the fixpoint: until no link changes anything. Parameters own the labels; activations
only borrow them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import networkx as nx
import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx
from torch.export import ExportedProgram

from graphprune.axes.kept import Kept
from graphprune.axes.labels import Axis, Labels
from graphprune.axes.layout import Layout
from graphprune.axes.polynomial import Costs, Polynomial
from graphprune.ir.data_sizes import DataSizes
from graphprune.ir.program import unlift, user_inputs
from graphprune.ops import Facts
from graphprune.ops.facts import Result, axes_of

from .branch_costs import branch_costs
from .count_costs import count_costs, macs
from .emptied import Emptied
from .find_emptied import dependencies, emptied
from .groups import Group, Grouping, group_labels
from .measure_sizes import measure_sizes
from .propagate import Propagation
from .removable import Removable, find_removable, with_idle

__all__ = ["Analysis", "analyse"]

_IRREGULAR = (
    "gives an axis where channels meet others in no regular grid, as in a product with themselves"
)
"""Why a call's result freezes channels that no product of widths counts."""


@dataclass(frozen=True)
class Analysis:
    """Everything later stages need to know of a graph.

    Attributes:
        module: the analysed graph (not changed, not to be changed).
        facts: per operator call, what its rule said.
        tensors: parameters, buffers and constants by qualified name.
        axes: per tensor name, its layout.
        layouts: per node, the layout of its result (a list, if it has several).
        labels: the label store.
        nodes: node of each link number in the store's log.
        constant_calls: calls whose results depend on stored tensors alone (constant folding).
        grouping: the groups.
        costs: their costs.
        data_sizes: the sizes of the program that depend on values, from a run on its example inputs.
        allow_inexact: whether axes that inexact statistics run over may be cut too.
        program: the program that the graph was unlifted from, if there was one.
    """

    module: fx.GraphModule
    facts: Mapping[fx.Node, Facts]
    tensors: Mapping[str, torch.Tensor]
    axes: Mapping[str, Layout]
    layouts: Mapping[fx.Node, Result]
    labels: Labels
    nodes: tuple[fx.Node, ...]
    constant_calls: frozenset[fx.Node]
    grouping: Grouping
    costs: Costs
    data_sizes: DataSizes
    allow_inexact: bool = False
    program: ExportedProgram | None = None

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of channels, in model order."""
        return self.grouping.groups

    @property
    def widths(self) -> NDArray[np.int64]:
        """The dense width of every group, in channels."""
        return np.asarray([group.width for group in self.groups], dtype=np.int64)

    def kept(self, keep: Mapping[str, Iterable[int]]) -> Kept:
        """Translate a choice of channels per group to rows of axes; absent groups stay whole."""
        alive = np.ones(len(self.labels), dtype=bool)
        for group in self.groups:
            if group.id in keep:
                alive[group.labels] = False
                alive[group.labels[np.asarray(list(keep[group.id]), dtype=np.int64)]] = True
        return Kept(self.labels, alive)

    def groups_on(self, axes: Iterable[Axis]) -> tuple[str, ...]:
        """List the ids of the groups that have channels on any of some axes, in model order."""
        numbers = frozenset[int]().union(*map(self.numbers_on, axes))
        return tuple(self.groups[number].id for number in sorted(numbers))

    def numbers_on(self, axis: Axis) -> frozenset[int]:
        """Collect the numbers of the groups that have channels on an axis."""
        return frozenset[int]().union(*self.row_groups(axis))

    def macs_of(self, node: fx.Node) -> Polynomial:
        """Count the multiply-accumulates of one call per sample, as a polynomial in the widths."""
        return macs(self.facts[node], self.labels, self.grouping, self.costs.batch)

    @property
    def dense_macs(self) -> float:
        """Multiply-accumulates of the dense program, per sample."""
        return self.costs.macs.at(self.widths)

    @cached_property
    def inexact(self) -> Mapping[str, tuple[fx.Node, ...]]:
        """Calls whose statistics over a group's channels are not exact after a cut, by group id."""
        calls: dict[str, dict[fx.Node, None]] = {}
        for node, facts in self.facts.items():
            for axis in (a for s in facts.statistics if not s.exact for a in s.counted):
                for group in self.groups_on([axis]):
                    calls.setdefault(group, {})[node] = None
        return {name: tuple(nodes) for name, nodes in calls.items()}

    @cached_property
    def unread(self) -> tuple[str, ...]:
        """Parameters that no call of the program reads: for code that wasn't traced, such as a loss."""
        read = {
            id(self.tensors[str(node.target)])
            for node in self.module.graph.nodes
            if node.op == "get_attr" and node.users and str(node.target) in self.tensors
        }
        return tuple(
            name
            for name, tensor in self.tensors.items()
            if isinstance(tensor, torch.nn.Parameter) and id(tensor) not in read
        )

    @cached_property
    def removable(self) -> Removable:
        """Which groups can lose all their channels, as whole branches, and why the others can't."""
        return find_removable(self)

    @cached_property
    def branch_costs(self) -> Costs:
        """The costs where branches may go whole: terms of calls that go with a branch vanish with it."""
        return branch_costs(self)

    @cached_property
    def dependencies(self) -> set[tuple[fx.Node, str]]:
        """Pairs of an input and the name of an output that depends on it."""
        return dependencies(self, lambda _: True)

    def without(self, gone: Iterable[int], *, idle: bool = False) -> Emptied:
        """Find what is left of the graph when some groups lose all their channels.

        Args:
            gone: numbers of the groups.
            idle: take the groups along that are of no use then.
        """
        groups = frozenset(gone)
        if (groups, idle) not in self._without:
            found = with_idle(self, groups) if idle else emptied(self, groups)
            self._without[groups, idle] = found
        return self._without[groups, idle]

    @cached_property
    def _without(self) -> dict[tuple[frozenset[int], bool], Emptied]:
        return {}

    def row_groups(self, axis: Axis) -> tuple[frozenset[int], ...]:
        """List the sets of groups that the rows of an axis belong to, each set once."""
        if id(axis) not in self._row_groups:
            rows = self.labels.resolve(axis)
            sets = np.unique(self.grouping.of_label[rows], axis=0) if rows.shape[1] else []
            found = tuple(frozenset(int(g) for g in row if g >= 0) for row in sets)
            self._row_groups[id(axis)] = axis, found
        return self._row_groups[id(axis)][1]

    @cached_property
    def _row_groups(self) -> dict[int, tuple[Axis, tuple[frozenset[int], ...]]]:
        return {}

    @cached_property
    def coupling_graph(self) -> nx.Graph[str]:
        """Build a bipartite networkx graph of the groups and the parameter axes they lie in."""
        graph: nx.Graph[str] = nx.Graph()
        for group in self.groups:
            graph.add_node(group.id, kind="group", width=group.width)
            for where in group.occurrences:
                axis = f"{where.tensor}:{where.dim}"
                graph.add_node(axis, kind="axis")
                graph.add_edge(group.id, axis)
        return graph


def analyse(
    program: ExportedProgram | fx.GraphModule,
    *,
    allow_inexact: bool = False,
    free_inputs: bool = False,
) -> Analysis:
    """Find the groups of channels that can be cut, and what they cost.

    Args:
        program: an exported program, or an unlifted graph with ``val`` metadata.
        allow_inexact: cut through statistics too, such as LayerNorm's (docs/axis-algebra.md).
        free_inputs: inputs and outputs may be cut too. For tests of operator rules.

    Returns:
        The analysis. It never fails on an unknown operator: that freezes what it touches.

    Raises:
        TraceError: if sizes depend on values, and there are no example inputs with values.
    """
    module = unlift(program) if isinstance(program, ExportedProgram) else program
    inputs = user_inputs(program) if isinstance(program, ExportedProgram) else []
    data_sizes = measure_sizes(module, inputs)
    propagation = Propagation(module, free_inputs, allow_inexact, data_sizes)
    labels, grouping = propagation.labels, _settled_groups(propagation)
    costs = count_costs(
        module, propagation.facts, propagation.tensors, propagation.axes, labels, grouping
    )
    return Analysis(
        module=module,
        facts=propagation.facts,
        tensors=propagation.tensors,
        axes=propagation.axes,
        layouts=propagation.results,
        labels=labels,
        nodes=propagation.nodes,
        constant_calls=propagation.constant_calls,
        grouping=grouping,
        costs=costs,
        data_sizes=data_sizes,
        allow_inexact=allow_inexact,
        program=program if isinstance(program, ExportedProgram) else None,
    )


def _settled_groups(propagation: Propagation) -> Grouping:
    """Propagate and group labels, until every axis is a product of groups; what stands in the way is frozen."""
    met: set[fx.Node] = set()
    while True:
        propagation.to_fixpoint()
        propagation.freeze_unseen()
        labels, axes = propagation.labels, propagation.distinct_axes()
        parameters = {
            (name, dim): labels.resolve(axis)
            for name, layout in propagation.axes.items()
            for dim, axis in enumerate(layout)
        }
        grouping = group_labels(axes, parameters, len(labels))
        irregular = [(axis, rows) for axis in axes if len(rows := grouping.irregular(axis))]
        if not irregular:
            for node in met:
                propagation.facts[node].because = _IRREGULAR
            return grouping
        links = [_first_with(propagation, axis) for axis, _ in irregular]
        for link, (_, rows) in zip(links, irregular, strict=True):
            labels.freeze(np.unique(rows)[:, None], link)
        met |= {propagation.nodes[link] for link in links} & propagation.facts.keys()


def _first_with(propagation: Propagation, axis: Axis) -> int:
    """Find the first call whose result has an axis, by its number; the first node if none has."""
    return next(
        (
            link
            for link, node in enumerate(propagation.nodes)
            if node in propagation.facts
            for each in axes_of(propagation.results[node])
            if np.array_equal(propagation.labels.resolve(each), axis)
        ),
        0,
    )
