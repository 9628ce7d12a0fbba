"""Merge groups that must keep equally many channels, or equal shares, so that they are allocated as one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from .cost_tables import Factor
from .problem import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from .cost_tables import Array
    from .problem import Allocation, Levels

__all__ = ["EqualWidths"]


@dataclass(frozen=True)
class EqualWidths:
    """Classes of groups that must have equal widths, counted in steps.

    A group with a step of 8 channels beside one with a step of 1 is eight times as wide, at every choice of
    widths. That is one variable in the problem: its distortion is the sum over the class, and products of the
    widths of a class become powers of it.

    Attributes:
        classes: class of every group; classes are numbered in the order of their first groups.
        steps: channels of one step of every group.

    Example:
        >>> EqualWidths.of((0, 1, 0)).spread((5, 7))
        (5, 7, 5)
    """

    classes: tuple[int, ...]
    steps: tuple[int, ...]

    @classmethod
    def of(cls, firsts: Iterable[int], steps: Sequence[int] | None = None) -> EqualWidths:
        """Make the classes from the first group of each group's class, or any other key of the class."""
        numbers: dict[int, int] = {}
        classes = tuple(numbers.setdefault(first, len(numbers)) for first in firsts)
        return cls(classes, (1,) * len(classes) if steps is None else tuple(steps))

    @property
    def firsts(self) -> tuple[int, ...]:
        """First group of every class."""
        return tuple(self.classes.index(number) for number in range(len(set(self.classes))))

    def spread(self, levels: Levels) -> Levels:
        """Return the levels of the groups, given those of the classes."""
        return tuple(levels[number] for number in self.classes)

    def common(self, widths: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        """Keep only the candidate widths that all groups of a class have, in steps."""
        counts = [w[w % s == 0] // s for w, s in zip(widths, self.steps, strict=True)]
        shared = [
            reduce(
                np.intersect1d,
                [n for n, c in zip(counts, self.classes, strict=True) if c == number],
            )
            for number in range(len(self.firsts))
        ]
        return [s * shared[number] for s, number in zip(self.steps, self.classes, strict=True)]

    def in_firsts(
        self, polynomial: Mapping[tuple[int, ...], float]
    ) -> dict[tuple[int, ...], float]:
        """Write a polynomial in the widths of the first groups of the classes, where others are as wide.

        Tables over many groups of a class would be made one by one, only to be merged.

        Args:
            polynomial: coefficient per monomial, see ``polynomial_factors``.
        """
        of_class = self.firsts
        firsts = [
            first if self.steps[first] == self.steps[group] else group
            for group, first in enumerate(of_class[number] for number in self.classes)
        ]
        found: dict[tuple[int, ...], float] = {}
        for monomial, coefficient in polynomial.items():
            key = tuple(sorted(firsts[g] if g >= 0 else ~firsts[~g] for g in monomial))
            found[key] = found.get(key, 0.0) + coefficient
        return found

    def merged(self, problem: Problem) -> Problem:
        """Return the problem in which every class is one group, with summed distortions.

        Args:
            problem: a problem in which the groups of a class have the same candidate widths, in steps.
        """
        return Problem(
            tuple(problem.widths[first] for first in self.firsts),
            self.summed(problem.curves),
            tuple(map(self._merged, problem.factors)),
            problem.budget,
        )

    def summed(self, curves: Sequence[Array]) -> tuple[Array, ...]:
        """Add up what the groups of each class have at their candidate widths, such as their distortions."""
        sums = [np.zeros(len(curves[first])) for first in self.firsts]
        for group, number in enumerate(self.classes):
            sums[number] = sums[number] + curves[group]
        return tuple(sums)

    def _merged(self, factor: Factor) -> Factor:
        """Take the diagonal of a table over the groups that are in one class."""
        scope = tuple(sorted({self.classes[group] for group in factor.scope}))
        sizes = dict(
            zip((self.classes[group] for group in factor.scope), factor.table.shape, strict=True)
        )
        index = dict(
            zip(scope, np.ix_(*(np.arange(sizes[number]) for number in scope)), strict=True)
        )
        table: Array = factor.table[tuple(index[self.classes[group]] for group in factor.scope)]
        return Factor(scope, table)

    def whole(self, found: Allocation) -> Allocation:
        """Turn an allocation of the merged problem into one of the groups."""
        return replace(found, levels=self.spread(found.levels))
