"""Cost terms over a few groups, and how a cost polynomial becomes such terms."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = NDArray[np.int64]

__all__ = ["Factor", "absorb", "aligned", "cells", "few_switches", "fitting", "polynomial_factors"]

SWITCHED_CELLS = 200_000
"""Most entries of a table that depends on whether groups are gone, beside its widths."""


@dataclass(frozen=True, eq=False)
class Factor:
    """One additive cost term that depends on the levels of a few groups.

    Attributes:
        scope: strictly increasing group indices; empty for a constant.
        table: cost, shape = number of levels of each group in `scope`.
    """

    scope: tuple[int, ...]
    table: Array

    def __call__(self, levels: Sequence[int]) -> float:
        """Return the cost of this term at one level per group of the whole problem."""
        return float(self.table[tuple(levels[group] for group in self.scope)])

    def along(self, group: int, levels: Sequence[int]) -> Array:
        """Return the cost at every level of `group`, the other groups held at `levels`."""
        return self.table[
            tuple(slice(None) if other == group else levels[other] for other in self.scope)
        ]


def polynomial_factors(
    widths: Sequence[NDArray[np.integer]], polynomial: Mapping[tuple[int, ...], float]
) -> tuple[Factor, ...]:
    """Tabulate a polynomial in the group widths.

    Args:
        widths: candidate widths per group.
        polynomial: coefficient per monomial; a monomial is a tuple of group indices with
            repetition: `(0, 0, 3)` is w0 * w0 * w3, `()` is the constant; `~g` is 1 where
            `widths[g]` isn't 0.

    Returns:
        Factors whose sum is the polynomial, one per inclusion-maximal set of groups.
    """
    values = [np.asarray(width, dtype=np.float64) for width in widths]
    terms: list[Factor] = []
    for monomial, coefficient in polynomial.items():
        powers = Counter(group for group in monomial if group >= 0)
        switches = {~group for group in monomial if group < 0}
        scope = tuple(sorted({*powers, *switches}))
        table = np.array(float(coefficient))
        for group in scope:
            column = values[group] ** powers[group]
            if group in switches:
                column = column * (values[group] > 0)
            table = table[..., np.newaxis] * column
        terms.append(Factor(scope, table))
    return absorb(terms)


def fitting(sizes: Sequence[int], scope: Iterable[int], more: Iterable[int]) -> tuple[int, ...]:
    """Return as many more groups as a table over a scope can take, those with the fewest levels first.

    Args:
        sizes: levels of every group.
        scope: groups of the table.
        more: groups that it may depend on too.
    """
    own = set(scope)
    count = cells(sizes, own)
    found: list[int] = []
    for group in sorted(set(more), key=lambda g: (sizes[g], g)):
        if group not in own:
            if count * sizes[group] > SWITCHED_CELLS:
                continue
            count *= sizes[group]
        found.append(group)
    return tuple(sorted(found))


def few_switches(
    widths: Sequence[NDArray[np.integer]], polynomial: Mapping[tuple[int, ...], float]
) -> dict[tuple[int, ...], float]:
    """Leave switches out of a polynomial until each term fits into a table; it only gets larger by that.

    Args:
        widths: candidate widths per group.
        polynomial: see ``polynomial_factors``.
    """
    sizes = [len(each) for each in widths]
    found: dict[tuple[int, ...], float] = {}
    for term, coefficient in polynomial.items():
        own = tuple(group for group in term if group >= 0)
        switches = [~group for group in term if group < 0]
        kept = fitting(sizes, own, switches)
        if len(kept) < len(switches):
            if coefficient < 0:  # at most 0, where the branches are gone
                continue
            term = tuple(sorted((*(~group for group in kept), *own)))  # noqa: PLW2901
        found[term] = found.get(term, 0.0) + coefficient
    return found


def absorb(factors: Iterable[Factor]) -> tuple[Factor, ...]:
    """Sum factors into those whose scope contains theirs.

    This adds no new pair of groups to any scope, so the induced width stays the same.
    """
    sums: dict[tuple[int, ...], Array] = {}
    for factor in sorted(factors, key=lambda factor: (-len(factor.scope), factor.scope)):
        home = _containing(factor.scope, sums)
        if home is None:
            sums[factor.scope] = factor.table.astype(np.float64, copy=True)
        else:
            sums[home] += aligned(factor.table, factor.scope, home)
    return tuple(Factor(scope, table) for scope, table in sorted(sums.items()))


def _containing(
    scope: tuple[int, ...], candidates: Iterable[tuple[int, ...]]
) -> tuple[int, ...] | None:
    return next((other for other in candidates if set(scope) <= set(other)), None)


def aligned(table: Array, scope: tuple[int, ...], target: tuple[int, ...]) -> Array:
    """View `table` with the axes of `target`, which contains `scope`, in that order.

    Axes that `scope` lacks get size 1, so that the result broadcasts.
    """
    ordered = table.transpose([scope.index(group) for group in target if group in scope])
    sizes = iter(ordered.shape)
    return ordered.reshape([next(sizes) if group in scope else 1 for group in target])


def cells(sizes: Sequence[int], scope: Iterable[int]) -> int:
    """Return how many cells a table over `scope` has."""
    return math.prod(sizes[group] for group in scope)
