"""Groups that must keep equally many channels, allocated as one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from .cost_tables import Factor
from .problem import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from .cost_tables import Array
    from .problem import Allocation, Levels

__all__ = ["EqualWidths"]


@dataclass(frozen=True)
class EqualWidths:
    """Which groups are one.

    Attributes:
        classes: the class of every group; classes are numbered in the order of their first groups.

    Example:
        >>> Ties((0, 1, 0)).spread((5, 7))
        (5, 7, 5)
    """

    classes: tuple[int, ...]

    @classmethod
    def of(cls, firsts: Iterable[int]) -> EqualWidths:
        """Ties of groups that state the first group of their class, or anything else alike in it."""
        numbers: dict[int, int] = {}
        return cls(tuple(numbers.setdefault(first, len(numbers)) for first in firsts))

    @property
    def firsts(self) -> tuple[int, ...]:
        """The first group of every class."""
        return tuple(self.classes.index(number) for number in range(len(set(self.classes))))

    def spread(self, levels: Levels) -> Levels:
        """Levels of the groups from those of the classes."""
        return tuple(levels[number] for number in self.classes)

    def common(self, widths: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        """Candidate widths of every group, of which only those stay that all groups of its class have."""
        shared = [
            reduce(
                np.intersect1d,
                [w for w, c in zip(widths, self.classes, strict=True) if c == number],
            )
            for number in range(len(self.firsts))
        ]
        return [shared[number] for number in self.classes]

    def merged(self, problem: Problem) -> Problem:
        """The problem in which every class is one group: distortions add up, costs are those of equal widths.

        Args:
            problem: the groups of a class have the same candidate widths.
        """
        curves = [np.zeros(len(problem.widths[first])) for first in self.firsts]
        for group, number in enumerate(self.classes):
            curves[number] = curves[number] + problem.curves[group]
        return Problem(
            tuple(problem.widths[first] for first in self.firsts),
            tuple(curves),
            tuple(map(self._merged, problem.factors)),
            problem.budget,
        )

    def _merged(self, factor: Factor) -> Factor:
        """The diagonal of the table, where several of its groups are one."""
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
        """An allocation of the merged problem as one of the groups."""
        return replace(found, levels=self.spread(found.levels))
