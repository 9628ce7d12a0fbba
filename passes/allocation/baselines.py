"""Allocation rules to compare with. None exceeds the budget; all are filled up to it."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .problem import Allocation, Infeasible
from .search import fill

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .factors import Array
    from .problem import Levels, Problem

__all__ = ["ErdosRenyiKernel", "GlobalThreshold", "RandomSearch", "Uniform"]

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Uniform:
    """The same share of every group's channels."""

    name: ClassVar[str] = "uniform"

    def __call__(self, problem: Problem) -> Allocation:
        """Allocate; see `Allocator`."""
        levels = _proportional(problem, [1.0] * len(problem.sizes))
        return Allocation.of(problem, levels, self.name)


@dataclass(frozen=True)
class ErdosRenyiKernel:
    """Densities in proportion to a scale per group, at most 1.

    With `(n_in + n_out + k_h + k_w) / (n_in * n_out * k_h * k_w)` as a layer's scale this is
    ERK (Mocanu et al., *Scalable training of artificial neural networks with adaptive sparse
    connectivity inspired by network science*, Nature Communications 9, 2018; with kernel
    sizes in Evci et al., *Rigging the lottery*, ICML 2020).

    Attributes:
        erk_scale: positive, one per group.
    """

    name: ClassVar[str] = "erk"
    erk_scale: tuple[float, ...]

    def __call__(self, problem: Problem) -> Allocation:
        """Allocate; see `Allocator`.

        Raises:
            ValueError: unless there is one positive scale per group.
        """
        if len(self.erk_scale) != len(problem.sizes) or min(self.erk_scale, default=1) <= 0:
            raise ValueError(f"erk_scale needs {len(problem.sizes)} positive entries")
        return Allocation.of(problem, _proportional(problem, self.erk_scale), self.name)


@dataclass(frozen=True)
class GlobalThreshold:
    """One threshold on the distortion per channel removed, for all groups.

    Channels are removed in the order of what their removal adds to the distortion, those of
    one group in the order of its curve, until the budget is met.
    """

    name: ClassVar[str] = "global_threshold"

    def __call__(self, problem: Problem) -> Allocation:
        """Allocate; see `Allocator`."""
        density: list[float] = []
        owner: list[int] = []
        for group, (width, curve) in enumerate(
            zip(problem.widths, problem.curves, strict=True)
        ):
            steps = (-np.diff(curve) / np.diff(width))[::-1]
            # A step comes after all wider ones of its group, so their threshold counts.
            density += np.maximum.accumulate(steps).tolist()
            owner += [group] * len(steps)
        removals = np.array(owner, dtype=np.int64)[np.argsort(density, kind="stable")]
        dense = np.array(problem.dense)

        def kept(count: int) -> Levels:
            removed = np.bincount(removals[:count], minlength=len(dense))
            return tuple((dense - removed).tolist())

        steps = len(removals)
        levels = _widest(problem, lambda index: kept(steps - index), steps + 1)
        return Allocation.of(problem, levels, self.name)


@dataclass(frozen=True)
class RandomSearch:
    """The best of some random densities, each scaled to the budget.

    Attributes:
        draws: how many.
        seed: of the random numbers.
    """

    name: ClassVar[str] = "random_search"
    draws: int = 100
    seed: int = 0

    def __call__(self, problem: Problem) -> Allocation:
        """Allocate; see `Allocator`.

        Raises:
            ValueError: if there are no draws.
        """
        if self.draws < 1:
            raise ValueError("random search needs at least one draw")
        scales = np.random.default_rng(self.seed).uniform(
            0.05, 1.0, (self.draws, len(problem.sizes))
        )
        found = [_proportional(problem, scale) for scale in scales.tolist()]
        return Allocation.of(problem, min(found, key=problem.distortion), self.name)


def _proportional(problem: Problem, scale: Sequence[float]) -> Levels:
    """Return the widest levels within the budget at densities in proportion to `scale`."""
    needed: list[Array] = [
        width / float(width[-1]) / share
        for width, share in zip(problem.widths, scale, strict=True)
    ]
    factors = np.unique(np.concatenate(needed))

    def scaled(index: int) -> Levels:
        limit = float(factors[index]) * (1 + _ROUNDING)
        return tuple(
            max(0, int(np.searchsorted(need, limit, side="right")) - 1) for need in needed
        )

    return _widest(problem, scaled, len(factors))


def _widest(problem: Problem, at: Callable[[int], Levels], count: int) -> Levels:
    """Find by bisection the widest levels within the budget, and fill it.

    Args:
        problem: with the budget to keep.
        at: levels by index, ever wider.
        count: number of indices.
    """
    if problem.feasible(problem.dense):
        return problem.dense
    if not problem.feasible(problem.cheapest):
        raise Infeasible(problem.smallest_cost())
    index = bisect_left(range(count), x=True, key=lambda i: not problem.feasible(at(i)))
    # Where costs are not monotone, even the narrowest levels may be over the budget.
    return fill(problem, at(index - 1) if index else problem.cheapest)
