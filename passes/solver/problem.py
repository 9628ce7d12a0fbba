"""The allocation problem: candidate widths, distortion curves, cost factors, and a budget."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from .cost_tables import Factor, polynomial_factors
from .elimination import Elimination

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from .cost_tables import Array, Index

__all__ = ["Allocation", "Infeasible", "Problem"]

Levels = tuple[int, ...]
"""One level per group: an index into its candidate widths."""

_CHEAPEST_CELLS = 20_000_000
_DESCENT_ROUNDS = 100


class Infeasible(Exception):  # noqa: N818 - a condition the caller reports, not a defect
    """Signal that no choice of widths meets the budget.

    Attributes:
        smallest: the lowest cost that any choice of widths reaches.
    """

    def __init__(self, smallest: float) -> None:
        super().__init__(f"the smallest reachable cost is {smallest:.6g}")
        self.smallest = smallest


@dataclass(frozen=True, eq=False)
class Problem:
    """Problem to choose one width per group: least summed distortion at a cost within the budget.

    Attributes:
        widths: per group, candidate widths, ascending; the last is the dense width.
        curves: per group, distortion at each width: >= 0 and non-increasing. Convexity
            is not needed.
        factors: tables whose sum is the cost.
        budget: absolute, in the unit of the cost.

    Raises:
        ValueError: if shapes disagree, widths don't ascend, or a curve rises or is negative.

    Example:
        >>> curve = np.array([3.0, 1.0, 0.0])
        >>> widths = (np.array([1, 2, 3]),) * 2
        >>> problem = Problem.from_polynomial(widths, (curve, curve), {(0, 1): 2.0}, 8.0)
        >>> problem.cost((1, 1)), problem.distortion((1, 1))
        (8.0, 2.0)
    """

    widths: tuple[NDArray[np.int64], ...]
    curves: tuple[Array, ...]
    factors: tuple[Factor, ...]
    budget: float

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.curves):
            raise ValueError(f"{len(self.widths)} widths but {len(self.curves)} curves")
        for group, (width, curve) in enumerate(zip(self.widths, self.curves, strict=True)):
            _check_group(group, width, curve)
        for factor in self.factors:
            _check_factor(factor, self.sizes)
        if np.isnan(self.budget):
            raise ValueError("the budget is not a number")

    @classmethod
    def from_polynomial(
        cls,
        widths: Sequence[NDArray[np.integer]],
        curves: Sequence[NDArray[np.floating]],
        polynomial: Mapping[tuple[int, ...], float],
        budget: float,
    ) -> Problem:
        """Build a problem whose cost is a polynomial in the widths.

        Args:
            widths: per group, candidate widths, ascending.
            curves: per group, distortion at each width.
            polynomial: coefficient per monomial; `(0, 0, 3)` is w0 * w0 * w3, `()` the
                constant.
            budget: absolute, in the unit of the polynomial.
        """
        return cls(
            widths=tuple(np.asarray(width, dtype=np.int64) for width in widths),
            curves=tuple(np.asarray(curve, dtype=np.float64) for curve in curves),
            factors=polynomial_factors(widths, polynomial),
            budget=float(budget),
        )

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of levels per group."""
        return tuple(len(width) for width in self.widths)

    @property
    def dense(self) -> Levels:
        """Widest level of every group."""
        return tuple(size - 1 for size in self.sizes)

    def cost(self, levels: Sequence[int]) -> float:
        """Return the cost at one level index per group."""
        return sum(factor(levels) for factor in self.factors)

    def distortion(self, levels: Sequence[int]) -> float:
        """Return the summed distortion at one level index per group."""
        return sum(float(curve[level]) for curve, level in zip(self.curves, levels, strict=True))

    def feasible(self, levels: Sequence[int]) -> bool:
        """Return whether the cost at `levels` is within the budget."""
        return self.cost(levels) <= self.budget

    def smallest_cost(self) -> float:
        """Return the lowest cost that any choice of levels reaches, see `cheapest`."""
        return self.cost(self.cheapest)

    @cached_property
    def cheapest(self) -> Levels:
        """Levels of every group at the lowest cost.

        Where every factor is smallest at the narrowest widths, as a polynomial with
        non-negative coefficients is, these are the narrowest widths. Otherwise they are
        found by elimination; if the factors are both non-monotone and too entangled for
        that, by coordinate descent, which may overstate the lowest cost.
        """
        if all(factor.table.flat[0] <= factor.table.min() for factor in self.factors):
            return (0,) * len(self.sizes)
        elimination = Elimination.plan(self.sizes, self.factors, _CHEAPEST_CELLS)
        if elimination is None:
            return self._descend()
        return elimination.minimise([np.zeros(size) for size in self.sizes], 1.0)[1]

    def _descend(self) -> Levels:
        levels = [0] * len(self.sizes)
        for _ in range(_DESCENT_ROUNDS):
            before = tuple(levels)
            for group, size in enumerate(self.sizes):
                along = np.zeros(size)
                for factor in self.factors:
                    if group in factor.scope:
                        along += factor.along(group, levels)
                levels[group] = int(along.argmin())
            if tuple(levels) == before:
                break
        return tuple(levels)

    def restrict(self, choice: Sequence[Index]) -> Problem:
        """Return the problem with only the levels `choice[group]`, ascending, left."""
        return Problem(
            widths=tuple(w[c] for w, c in zip(self.widths, choice, strict=True)),
            curves=tuple(d[c] for d, c in zip(self.curves, choice, strict=True)),
            factors=tuple(
                Factor(f.scope, _pick(f.table, [choice[group] for group in f.scope]))
                for f in self.factors
            ),
            budget=self.budget,
        )


@dataclass(frozen=True)
class Allocation:
    """One level per group, and how good that choice is.

    Attributes:
        levels: index into `Problem.widths` per group.
        cost: at these levels, never above the budget.
        distortion: summed over groups.
        lower_bound: no feasible choice has a smaller distortion; None if not certified.
        gap: (distortion - lower_bound) / lower_bound, 0 when both are 0.
        method: name of the allocator.
    """

    levels: Levels
    cost: float
    distortion: float
    lower_bound: float | None
    gap: float | None
    method: str

    @classmethod
    def of(
        cls, problem: Problem, levels: Levels, method: str, bound: float | None = None
    ) -> Allocation:
        """Evaluate `levels`; `bound` is clipped to the distortion reached."""
        distortion = problem.distortion(levels)
        gap = None
        if bound is not None:
            bound = min(bound, distortion)
            gap = _relative(distortion - bound, bound)
        return cls(levels, problem.cost(levels), distortion, bound, gap, method)


def _pick(table: Array, choice: Sequence[Index]) -> Array:
    return np.asarray(table[np.ix_(*choice)])


def _relative(excess: float, base: float) -> float:
    if excess <= 0:
        return 0.0
    return excess / base if base > 0 else float("inf")


def _check_group(group: int, width: NDArray[np.int64], curve: Array) -> None:
    if width.ndim != 1 or width.shape != curve.shape or not width.size:
        raise ValueError(f"group {group}: {curve.shape} distortions for {width.shape} widths")
    if any(low >= high for low, high in pairwise(width.tolist())):
        raise ValueError(f"group {group}: widths must ascend")
    if not np.isfinite(curve).all() or curve[-1] < 0 or (np.diff(curve) > 0).any():
        raise ValueError(f"group {group}: a curve must be finite, >= 0 and non-increasing")


def _check_factor(factor: Factor, sizes: tuple[int, ...]) -> None:
    if any(low >= high for low, high in pairwise(factor.scope)):
        raise ValueError(f"factor scope {factor.scope} is not strictly increasing")
    if any(not 0 <= group < len(sizes) for group in factor.scope):
        raise ValueError(f"factor scope {factor.scope} names an unknown group")
    if factor.table.shape != tuple(sizes[group] for group in factor.scope):
        raise ValueError(f"factor {factor.scope}: table shape {factor.table.shape}")
    if not np.isfinite(factor.table).all():
        raise ValueError(f"factor {factor.scope}: costs must be finite")
