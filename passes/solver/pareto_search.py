"""Close the optimality gap by dynamic programming over Pareto-optimal (cost, distortion) states.

A state (a Pareto label) is a partial choice with its true cost, so that a complete one is never over budget
by rounding. A state is dropped when another one with the same separator levels is at least
as good in both respects, or when the Lagrangian bound of its completions is above a
ceiling. Where more states than may be kept are left, those of the best bounds stay, and
the best bound among the dropped ones is remembered: the outcome is certified all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .elimination import sliced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .cost_tables import Array, Index
    from .elimination import Bucket, Elimination
    from .problem import Levels, Problem
    from .relaxation import Relaxation

__all__ = ["ParetoSearch"]

_ROUNDING = 1e-9
# Pairs of states looked at: in all, the share of what is left that one combination may use,
# and how many it may use in any case.
_PRODUCTS = 5_000_000
_PRODUCT_SHARE = 20
_LEAST_PRODUCTS = 20_000


@dataclass(frozen=True, eq=False)
class _States:
    """Partial choices for a bucket and all below it, at fixed separator levels.

    Attributes:
        costs: true cost of each state.
        distortions: of the groups chosen so far.
        excess: Lagrangian value of each state, less the least one possible.
        choices: [states, 1 + children]: level of the bucket's variable, then the position
            of each child's state.
    """

    costs: Array
    distortions: Array
    excess: Array
    choices: Index

    @classmethod
    def single(cls, cost: float, distortion: float, level: int) -> _States:
        return cls(np.array([cost]), np.array([distortion]), np.zeros(1), np.array([[level]]))

    @classmethod
    def joined(cls, parts: Sequence[_States]) -> _States:
        return cls(
            np.concatenate([part.costs for part in parts]),
            np.concatenate([part.distortions for part in parts]),
            np.concatenate([part.excess for part in parts]),
            np.concatenate([part.choices for part in parts]),
        )

    def at(self, index: Index | NDArray[np.bool_]) -> _States:
        return _States(
            self.costs[index], self.distortions[index], self.excess[index], self.choices[index]
        )

    def raised(self, excess: float) -> _States:
        return _States(self.costs, self.distortions, self.excess + excess, self.choices)

    def times(self, child: _States, allowed: float) -> _States:
        """Combine with each state of a child while the excess is allowed."""
        order = np.argsort(child.excess, kind="stable")
        counts = np.searchsorted(child.excess[order], allowed - self.excess, side="right")
        mine = np.repeat(np.arange(len(counts)), counts)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        theirs = order[np.arange(len(mine)) - first]
        return _States(
            self.costs[mine] + child.costs[theirs],
            self.distortions[mine] + child.distortions[theirs],
            self.excess[mine] + child.excess[theirs],
            np.column_stack([self.choices[mine], theirs]),
        )

    def pairs(self, child: _States, allowed: float) -> int:
        """Return how many states `times` would make."""
        ascending = np.sort(child.excess)
        return int(np.searchsorted(ascending, allowed - self.excess, side="right").sum())

    def pareto(self) -> _States:
        """Drop states that another one matches or beats in both cost and distortion."""
        order = np.lexsort((self.distortions, self.costs))
        ordered = self.distortions[order]
        cheaper = np.minimum.accumulate(np.concatenate([[np.inf], ordered[:-1]]))
        return self.at(order[ordered < cheaper])


class ParetoSearch:
    """Search for the best choice within the budget, guided by a price for the cost."""

    def __init__(
        self,
        problem: Problem,
        relaxation: Relaxation,
        elimination: Elimination,
        weight: float,
        keep: int,
    ) -> None:
        """Compute the bounds that guide the search.

        Args:
            problem: with few levels per group.
            relaxation: of it, with one level per interval.
            elimination: for the relaxation's factors.
            weight: price of cost.
            keep: states kept per bucket and separator levels.
        """
        self._problem, self._relaxation, self._elimination = problem, relaxation, elimination
        self._keep = keep
        unary = relaxation.unary(weight)
        messages = elimination.collect(unary, weight)
        beliefs = dict(elimination.beliefs(unary, weight, messages))
        # Lagrangian value through each bag entry, less the least value of all.
        self._reduced = [beliefs[i] - beliefs[i].min() for i in range(len(beliefs))]
        value = elimination.minimise(unary, weight)[0] + weight * relaxation.constant
        self._bound = value - weight * problem.budget
        self._rooms = self._cost_rooms()
        self._dropped = np.inf
        self._products = 0
        self._states: list[dict[tuple[int, ...], _States]] = []

    def _cost_rooms(self) -> list[Array]:
        """Return per bucket and separator levels what its states may cost at most."""
        moves = self._relaxation.moves
        messages = self._elimination.collect(moves, 1.0)
        beliefs = dict(self._elimination.beliefs(moves, 1.0, messages))
        least = self._elimination.minimise(moves, 1.0)[0] + self._relaxation.constant
        spare = self._problem.budget * (1 + _ROUNDING) - least
        return [
            spare - (beliefs[index].min(axis=0) - beliefs[index].min()) + message
            for index, message in enumerate(messages)
        ]

    def run(self, ceiling: float) -> tuple[Levels | None, float]:
        """Search for choices whose distortion is at most `ceiling`.

        Returns:
            The best choice found, if any, and a bound: a choice within the budget that
            has a smaller distortion than the one found has at least this one.
        """
        slack = ceiling - self._bound
        self._dropped = slack
        self._products = _PRODUCTS
        self._states = []
        for index, bucket in enumerate(self._elimination.buckets):
            found: dict[tuple[int, ...], _States] = {}
            for at in np.ndindex(*self._rooms[index].shape):
                reduced = self._reduced[index][(slice(None), *at)]
                states = self._bucket_states(bucket, at, reduced, slack)
                if states is not None:
                    fitting = states.at(states.costs <= self._rooms[index][at])
                    found[at] = self._thinned(fitting.pareto(), float(reduced.min()), self._keep)
            self._states.append(found)
        return self._best(slack), self._bound + self._dropped

    def _bucket_states(
        self, bucket: Bucket, at: tuple[int, ...], reduced: Array, slack: float
    ) -> _States | None:
        """Return the states of a bucket at the separator levels `at`."""
        costs = self._relaxation.moves[bucket.variable].copy()
        for table in bucket.tables:
            costs += sliced(table, at)
        curve = self._problem.curves[bucket.variable]
        parts: list[_States] = []
        for level in np.flatnonzero(reduced <= slack).tolist():
            here = dict(zip(bucket.bag, (level, *at), strict=True))
            states = self._combined(
                _States.single(float(costs[level]), float(curve[level]), level),
                bucket.children,
                here,
                (float(reduced[level]), slack),
            )
            if states is not None:
                parts.append(states.raised(float(reduced[level] - reduced.min())))
        return _States.joined(parts) if parts else None

    def _combined(
        self,
        states: _States,
        children: Sequence[int],
        here: dict[int, int],
        window: tuple[float, float],
    ) -> _States | None:
        """Combine with the states of all children at the levels `here`."""
        for child in children:
            separator = self._elimination.buckets[child].separator
            other = self._states[child].get(tuple(here[group] for group in separator))
            if other is None:
                return None
            states = self._product(states, other, window).pareto()
            states = self._thinned(states, window[0], self._keep)
        return states if len(states.costs) else None

    def _product(self, states: _States, child: _States, window: tuple[float, float]) -> _States:
        """Combine with each state of a child, of as many states as can be afforded."""
        lowest, slack = window
        most = max(_LEAST_PRODUCTS, self._products // _PRODUCT_SHARE)
        while (count := states.pairs(child, slack - lowest)) > most:
            if len(states.costs) > len(child.costs):
                states = self._thinned(states, lowest, len(states.costs) // 2)
            else:
                child = self._thinned(child, lowest, len(child.costs) // 2)
        self._products -= count
        return states.times(child, slack - lowest)

    def _thinned(self, states: _States, lowest: float, keep: int) -> _States:
        """Keep the states of least excess, and the bound of the others."""
        if len(states.costs) <= keep:
            return states
        order = np.argsort(states.excess, kind="stable")
        self._dropped = min(self._dropped, lowest + float(states.excess[order[keep]]))
        return states.at(np.sort(order[:keep]))

    def _best(self, slack: float) -> Levels | None:
        """Return the complete choice of least distortion within the budget."""
        buckets = self._elimination.buckets
        roots = [index for index, bucket in enumerate(buckets) if not bucket.separator]
        states = self._combined(_States.single(0.0, 0.0, 0), roots, {}, (0.0, slack))
        if states is None:
            return None
        for state in np.argsort(states.distortions, kind="stable"):
            picks = dict(zip(roots, states.choices[state, 1:].tolist(), strict=True))
            levels = self._traced(picks)
            if self._problem.feasible(levels):
                return levels
        return None

    def _traced(self, picks: dict[int, int]) -> Levels:
        """Follow the choices of complete states down from the roots."""
        levels = [0] * len(self._problem.sizes)
        for index in reversed(range(len(self._states))):
            bucket = self._elimination.buckets[index]
            states = self._states[index][tuple(levels[g] for g in bucket.separator)]
            level, *below = states.choices[picks[index]].tolist()
            levels[bucket.variable] = level
            picks |= zip(bucket.children, below, strict=True)
        return tuple(levels)
