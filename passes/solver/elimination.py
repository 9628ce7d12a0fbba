"""Exact minimisation of summed tables by bucket elimination.

This is the non-serial dynamic programming of Bertele and Brioschi (*Nonserial Dynamic
Programming*, 1972) in the bucket form of Dechter (*Bucket elimination: a unifying framework
for reasoning*, Artificial Intelligence 113, 1999). Time and memory grow with the number of
levels to the power of the induced width plus one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np
from networkx.algorithms.approximation import treewidth_min_fill_in

from .cost_tables import Factor, absorb, aligned, cells

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .cost_tables import Array

__all__ = ["Bucket", "Elimination", "elimination_order", "sliced", "work"]


def elimination_order(
    sizes: Sequence[int], factors: Sequence[Factor], limit: int
) -> list[tuple[int, ...]] | None:
    """Return the groups in elimination order, each followed by its separator.

    The order is a post-order walk of networkx's min-fill tree decomposition.

    Args:
        sizes: number of levels per group.
        factors: tables; groups interact where they meet in one.
        limit: cells of the largest bucket sum.

    Returns:
        None if every order exceeds the limit by far: the core number of the interaction
        graph bounds its treewidth from below.
    """
    graph = _interactions(sizes, factors)
    core = max(nx.core_number(graph).values(), default=0)
    if math.prod(sorted(sizes[group] for group in graph)[: core + 1]) > limit:
        return None
    alone = [(group,) for group in range(len(sizes)) if group not in graph]
    return alone + _bags(graph)


def work(sizes: Sequence[int], order: Sequence[tuple[int, ...]]) -> int:
    """Return how many cells the bucket sums of an elimination order have together."""
    return sum(cells(sizes, bag) for bag in order)


def _interactions(sizes: Sequence[int], factors: Sequence[Factor]) -> nx.Graph[int]:
    """Return the graph of groups that meet in a factor; groups of one level are left out."""
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(group for group, size in enumerate(sizes) if size > 1)
    for factor in factors:
        free = [group for group in factor.scope if sizes[group] > 1]
        graph.add_edges_from(combinations(free, 2))
    return graph


def _bags(graph: nx.Graph[int]) -> list[tuple[int, ...]]:
    _, tree = treewidth_min_fill_in(graph)
    root = next(iter(tree))
    parents = {child: parent for parent, child in nx.dfs_edges(tree, root)}
    order: list[tuple[int, ...]] = []
    for node in nx.dfs_postorder_nodes(tree, root):
        rest = sorted(node)
        for variable in sorted(node - parents.get(node, frozenset())):
            rest.remove(variable)
            order.append((variable, *rest))
    return order


@dataclass(frozen=True, eq=False)
class Bucket:
    """One elimination step: sum the tables that hold `variable`, minimise it out.

    Attributes:
        variable: the group that is eliminated.
        separator: ascending groups that the result, the message, still depends on.
        tables: this bucket's own cost tables, with axes (variable, *separator).
        children: earlier buckets whose messages are summed here.
    """

    variable: int
    separator: tuple[int, ...]
    tables: tuple[Array, ...]
    children: tuple[int, ...]

    @property
    def bag(self) -> tuple[int, ...]:
        """The axes of the bucket's sum."""
        return (self.variable, *self.separator)


@dataclass(frozen=True, eq=False)
class Elimination:
    """A fixed elimination order for a sum of cost tables.

    Every method minimises, over all levels x, the sum over groups of `unary[g][x_g]` plus
    `weight` times the sum of the tables.

    Attributes:
        sizes: number of levels per group.
        buckets: elimination steps, in order, one per group.
        constant: cost that depends on no group.
    """

    sizes: tuple[int, ...]
    buckets: tuple[Bucket, ...]
    constant: float

    @classmethod
    def plan(
        cls, sizes: tuple[int, ...], factors: Sequence[Factor], limit: int
    ) -> Elimination | None:
        """Choose an order and sort the tables into buckets.

        Args:
            sizes: number of levels per group.
            factors: the tables.
            limit: cells that all bucket sums together may have.

        Returns:
            None if the limit would be exceeded.
        """
        order = elimination_order(sizes, factors, limit)
        if order is None or work(sizes, order) > limit:
            return None
        tables = absorb(_squeezed(factor, sizes) for factor in factors)
        constant = sum(float(factor.table) for factor in tables if not factor.scope)
        return cls(sizes, _fill(order, [f for f in tables if f.scope]), constant)

    def collect(self, unary: Sequence[Array], weight: float) -> list[Array]:
        """Return each bucket's message: its minimum as a function of its separator."""
        messages: list[Array] = []
        for bucket in self.buckets:
            messages.append(self._total(bucket, unary, weight, messages).min(axis=0))
        return messages

    def minimise(self, unary: Sequence[Array], weight: float) -> tuple[float, tuple[int, ...]]:
        """Return the minimum and the levels that attain it."""
        messages = self.collect(unary, weight)
        levels = [0] * len(self.sizes)
        for bucket in reversed(self.buckets):
            at = tuple(levels[group] for group in bucket.separator)
            total = unary[bucket.variable].copy()
            for table in bucket.tables:
                total += weight * sliced(table, at)
            for child in bucket.children:
                total += sliced(self._received(bucket, child, messages), at)
            levels[bucket.variable] = int(total.argmin())
        return self._value(messages, weight), tuple(levels)

    def marginals(self, unary: Sequence[Array], weight: float) -> list[Array]:
        """Return per group and level the minimum over all choices with that level."""
        messages = self.collect(unary, weight)
        value = self._value(messages, weight)
        found = [np.zeros(0)] * len(self.sizes)
        for index, belief in self.beliefs(unary, weight, messages):
            own = belief.min(axis=tuple(range(1, belief.ndim)))
            found[self.buckets[index].variable] = own + (value - own.min())
        return found

    def beliefs(
        self, unary: Sequence[Array], weight: float, messages: Sequence[Array]
    ) -> Iterator[tuple[int, Array]]:
        """Distribute: yield each bucket's index and min-marginals over its bag.

        An entry is the minimum over all levels that agree with it on the bag, less the
        minimum over the parts of the problem that are not connected to it.

        Args:
            unary: per group.
            weight: of the tables.
            messages: what `collect` returned.
        """
        outside: dict[int, Array] = {}
        for index in reversed(range(len(self.buckets))):
            bucket = self.buckets[index]
            belief = self._total(bucket, unary, weight, messages)
            if index in outside:
                belief = belief + outside.pop(index)
            for child in bucket.children:
                separator = self.buckets[child].separator
                away = tuple(
                    axis for axis, group in enumerate(bucket.bag) if group not in separator
                )
                kept = tuple(group for group in bucket.bag if group in separator)
                reached = aligned(belief.min(axis=away), kept, separator)
                outside[child] = reached - messages[child]
            yield index, belief

    def _value(self, messages: Sequence[Array], weight: float) -> float:
        return weight * self.constant + sum(
            float(message)
            for bucket, message in zip(self.buckets, messages, strict=True)
            if not bucket.separator
        )

    def _total(
        self,
        bucket: Bucket,
        unary: Sequence[Array],
        weight: float,
        messages: Sequence[Array],
    ) -> Array:
        parts = [weight * table for table in bucket.tables]
        parts += [self._received(bucket, child, messages) for child in bucket.children]
        shape = tuple(self.sizes[group] for group in bucket.bag)
        total = unary[bucket.variable].reshape(-1, *(1 for _ in bucket.separator))
        for part in sorted(parts, key=lambda part: part.size):
            total = total + part
        return np.broadcast_to(total, shape)

    def _received(self, bucket: Bucket, child: int, messages: Sequence[Array]) -> Array:
        return aligned(messages[child], self.buckets[child].separator, bucket.bag)


def _fill(order: Sequence[tuple[int, ...]], factors: Sequence[Factor]) -> tuple[Bucket, ...]:
    position = {bag[0]: index for index, bag in enumerate(order)}
    tables: list[list[Array]] = [[] for _ in order]
    children: list[list[int]] = [[] for _ in order]
    for factor in factors:
        home = min(position[group] for group in factor.scope)
        tables[home].append(aligned(factor.table, factor.scope, order[home]))
    for index, (_, *separator) in enumerate(order):
        if separator:
            children[min(position[group] for group in separator)].append(index)
    return tuple(
        Bucket(bag[0], bag[1:], tuple(tables[index]), tuple(children[index]))
        for index, bag in enumerate(order)
    )


def _squeezed(factor: Factor, sizes: Sequence[int]) -> Factor:
    """Drop the axes of groups that have a single level."""
    scope = tuple(group for group in factor.scope if sizes[group] > 1)
    return Factor(scope, factor.table.reshape([sizes[group] for group in scope]))


def sliced(table: Array, at: Sequence[int]) -> Array:
    """Return the variable's axis of a broadcastable table at the separator's levels."""
    axes = table.shape[1:]
    return table[(slice(None), *(0 if axes[i] == 1 else at[i] for i in range(len(axes))))]
