"""Lower bound by tree-reweighted message passing, for groups too entangled to eliminate.

In a net like DenseNet every group meets all later ones, and the tables of exact elimination
would be too large. The sum is then decomposed along its pairs (Lagrangian decomposition),
and the bound that the parts give together is raised by block coordinate ascent: sequential
tree-reweighted message passing, TRW-S (Kolmogorov, *Convergent tree-reweighted message
passing for energy minimization*, PAMI 28, 2006). Its limit is close to the linear-programming
bound, which is tight for products of widths wherever the interaction graph is bipartite, as
in DenseNet: reversing the order of one side makes the sum submodular.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from .cost_tables import Factor, absorb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .cost_tables import Array, Index
    from .problem import Levels

__all__ = ["Messages"]

_SETTLED = 1e-6


class Messages:
    """Solver that bounds the minimum of unary and pairwise tables from below.

    Messages are kept between calls, so that a nearby weight starts close to its optimum.
    Any messages give a valid bound.
    """

    def __init__(self, sizes: tuple[int, ...], factors: Sequence[Factor], iterations: int) -> None:
        """Sort the tables by group.

        Args:
            sizes: number of levels per group.
            factors: tables; one over three or more groups counts with its minimum over all
                but two of them, which keeps the bound valid.
            iterations: most passes over all groups, forward and backward, per call.
        """
        self._sizes, self._iterations = sizes, iterations
        terms = absorb(_pairwise(factor) for factor in factors)
        self._alone = [factor for factor in terms if len(factor.scope) < 2]
        pairs = [factor for factor in terms if len(factor.scope) == 2]
        depth = max(sizes, default=0)
        # Tables by ascending first group, [first level, second level], and the same ones
        # by ascending second group, transposed. Missing levels repeat the last one.
        tables = np.array([_padded(factor.table, depth) for factor in pairs])
        self._forth = tables.reshape(-1, depth, depth)
        first = np.array([factor.scope[0] for factor in pairs], dtype=np.int64)
        second = np.array([factor.scope[1] for factor in pairs], dtype=np.int64)
        self._by_second = np.argsort(second, kind="stable")
        self._back = self._forth[self._by_second].transpose(0, 2, 1).copy()
        self._first = first[self._by_second]
        self._out = _runs(first, len(sizes))
        self._in = _runs(second[self._by_second], len(sizes))
        self._down = np.zeros((len(pairs), depth))
        self._up = np.zeros((len(pairs), depth))

    def minimise(self, unary: Sequence[Array], weight: float) -> tuple[float, Levels]:
        """Return a lower bound of the minimum, and levels that come close to it."""
        own, back = self._padded_unary(unary, weight), weight * self._back
        return self._ascend(own, back, weight), self._decoded(own, back)

    def marginals(self, unary: Sequence[Array], weight: float) -> list[Array]:
        """Return per group and level a lower bound of the minimum with that level."""
        own, back = self._padded_unary(unary, weight), weight * self._back
        value = self._ascend(own, back, weight)
        return [
            value + self._excess(group, own, back)[:size] for group, size in enumerate(self._sizes)
        ]

    def _ascend(self, own: Array, back: Array, weight: float) -> float:
        """Pass messages forward and backward until the bound settles."""
        forth = weight * self._forth
        best = -np.inf
        for _ in range(self._iterations):
            self._forward(own, forth)
            bound = self._backward(own, back)
            settled = bound - best <= _SETTLED * abs(bound)
            best = bound
            if settled:
                break
        return best + weight * sum(float(f.table) for f in self._alone if not f.scope)

    def _padded_unary(self, unary: Sequence[Array], weight: float) -> Array:
        own = np.full((len(unary), self._down.shape[1]), np.inf)
        for group, values in enumerate(unary):
            own[group, : len(values)] = values
        for factor in self._alone:
            if factor.scope:
                own[factor.scope[0], : len(factor.table)] += weight * factor.table
        return own

    def _belief(self, group: int, own: Array) -> tuple[Array, float]:
        """Return a group's unary plus all messages to it, and each chain's share of it."""
        out, into = self._out[group], self._by_second[self._in[group]]
        belief = own[group] + self._down[into].sum(axis=0) + self._up[out].sum(axis=0)
        return belief, 1.0 / max(out.stop - out.start, len(into), 1)

    def _forward(self, own: Array, forth: Array) -> None:
        """Send messages from each group to the later ones."""
        for group, out in enumerate(self._out):
            belief, share = self._belief(group, own)
            sent = (share * belief - self._up[out])[:, :, np.newaxis] + forth[out]
            message = sent.min(axis=1)
            self._down[out] = message - message.min(axis=1, keepdims=True)

    def _backward(self, own: Array, back: Array) -> float:
        """Send messages from each group to the earlier ones; return the bound."""
        bound = 0.0
        for group in reversed(range(len(self._sizes))):
            belief, share = self._belief(group, own)
            lowest = float(belief.min())
            into = self._by_second[self._in[group]]
            sent = (share * (belief - lowest) - self._down[into])[:, :, np.newaxis]
            message = (sent + back[self._in[group]]).min(axis=1)
            least = message.min(axis=1, keepdims=True)
            self._up[into] = message - least
            bound += lowest + float(least.sum())
        return bound

    def _excess(self, group: int, own: Array, back: Array) -> Array:
        """Return by how much the bound rises if a group has a given level.

        Redoes the group's step of the last backward pass: there the bound took the minimum
        over its levels, in its belief and in each message.
        """
        belief, share = self._belief(group, own)
        belief = belief[: self._sizes[group]] - belief.min()
        into = self._by_second[self._in[group]]
        sent = share * belief - self._down[into, : len(belief)]
        sums = sent[:, :, np.newaxis] + back[self._in[group], : len(belief)]
        above = (sums - sums.min(axis=1, keepdims=True)).min(axis=2)
        return (1.0 - share * len(into)) * belief + above.sum(axis=0)

    def _decoded(self, own: Array, back: Array) -> Levels:
        """Choose levels group by group, each given the choices before it."""
        levels = np.zeros(len(self._sizes), dtype=np.int64)
        for group, into in enumerate(self._in):
            chosen = levels[self._first[into]]
            given = back[into][np.arange(len(chosen)), :, chosen]
            total = own[group] + given.sum(axis=0) + self._up[self._out[group]].sum(axis=0)
            levels[group] = total.argmin()
        return tuple(levels.tolist())


def _runs(ascending: Index, count: int) -> list[slice]:
    """Return the slice of equal entries for each value below `count`."""
    ends = np.searchsorted(ascending, np.arange(count + 1)).tolist()
    return [slice(start, stop) for start, stop in pairwise(ends)]


def _padded(table: Array, depth: int) -> Array:
    return np.pad(table, [(0, depth - size) for size in table.shape], mode="edge")


def _pairwise(factor: Factor) -> Factor:
    """Bound a factor from below by one over at most two groups, those of most levels."""
    sizes = factor.table.shape
    kept = sorted(sorted(range(len(sizes)), key=lambda axis: -sizes[axis])[:2])
    away = tuple(axis for axis in range(len(sizes)) if axis not in kept)
    scope = tuple(factor.scope[axis] for axis in kept)
    return Factor(scope, np.asarray(factor.table.min(axis=away)))
