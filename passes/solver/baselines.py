"""Baseline allocators to compare with. None exceeds the budget; all use it up."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .local_search import fill
from .problem import Allocation, Infeasible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .cost_tables import Array
    from .problem import Levels, Problem

__all__ = ["ErdosRenyiKernel", "GlobalThreshold", "PQIndex", "RandomSearch", "Uniform", "pq_index"]

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Uniform:
    """Allocator that keeps the same share of every group's channels."""

    name: ClassVar[str] = "uniform"

    def __call__(self, problem: Problem) -> Allocation:
        """Choose widths within the budget; see `Allocator`."""
        levels = _proportional(problem, [1.0] * len(problem.sizes))
        return Allocation.of(problem, levels, self.name)


@dataclass(frozen=True)
class ErdosRenyiKernel:
    """Allocator by densities in proportion to a scale per group, at most 1 (ERK).

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
        """Choose widths within the budget; see `Allocator`.

        Raises:
            ValueError: unless there is one positive scale per group.
        """
        _check_scale("erk_scale", self.erk_scale, problem)
        return Allocation.of(problem, _proportional(problem, self.erk_scale), self.name)


@dataclass(frozen=True)
class PQIndex:
    """Allocator by densities in proportion to the least that each group must keep by its PQ-index.

    Of ``d`` numbers with index ``I``, ``d * (1 - I) ** (p q / (q - p))`` have to stay for the
    others to be negligible: all if they are equal, one if all but one are zero. Source: Diao et
    al. 2023 (*Pruning deep neural networks from a sparsity perspective*, arXiv:2302.05601,
    theorem 3.3 with eta = 0, and its algorithm SAP). There the rule says how much to remove in
    a round; here the shares are scaled to the budget.

    Attributes:
        pq_share: ``(1 - I) ** (p q / (q - p))``, positive, one per group. See `of`.
    """

    name: ClassVar[str] = "pq-index"
    pq_share: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[Array], p: float = 0.5, q: float = 1.0) -> PQIndex:
        """Compute the shares from scores of channels, one vector per group."""
        shares = ((1 - pq_index(each, p, q)) ** (p * q / (q - p)) for each in values)
        return cls(tuple(max(share, _ROUNDING) for share in shares))

    def __call__(self, problem: Problem) -> Allocation:
        """Choose widths within the budget; see `Allocator`.

        Raises:
            ValueError: unless there is one positive share per group.
        """
        _check_scale("pq_share", self.pq_share, problem)
        return Allocation.of(problem, _proportional(problem, self.pq_share), self.name)


def pq_index(values: Array, p: float = 0.5, q: float = 1.0) -> float:
    """Compute the PQ-index, how unequal numbers are: 0 if all are equal in size, near 1 if few are large.

    ``1 - d ** (1/q - 1/p) * |x|_p / |x|_q`` for ``d`` numbers; it doesn't depend on their scale.
    Vectors of zeros count as equal. Source: Diao et al. 2023, definition 3.1.

    Args:
        values: ``[d]``, of any sign.
        p: smaller exponent, positive.
        q: larger exponent.

    Example:
        >>> pq_index(np.array([2.0, 2.0, 2.0])), pq_index(np.array([1.0, 0.0, 0.0, 0.0]))
        (0.0, 0.75)
    """
    size = np.abs(np.asarray(values, dtype=np.float64))
    top = size.max(initial=0.0)
    if top == 0:
        return 0.0
    size = size / top  # so that no power overflows
    ratio = np.mean(size**p) ** (1 / p) / np.mean(size**q) ** (1 / q)
    return max(0.0, 1.0 - float(ratio))


@dataclass(frozen=True)
class GlobalThreshold:
    """Allocator by one threshold on the distortion per channel removed, for all groups.

    Channels are removed in the order of what their removal adds to the distortion, those of
    one group in the order of its curve, until the budget is met.
    """

    name: ClassVar[str] = "global_threshold"

    def __call__(self, problem: Problem) -> Allocation:
        """Choose widths within the budget; see `Allocator`."""
        density: list[float] = []
        owner: list[int] = []
        for group, (width, curve) in enumerate(zip(problem.widths, problem.curves, strict=True)):
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
    """Allocator that takes the best of some random densities, each scaled to the budget.

    Attributes:
        draws: number of random densities.
        seed: seed of the random numbers.
    """

    name: ClassVar[str] = "random_search"
    draws: int = 100
    seed: int = 0

    def __call__(self, problem: Problem) -> Allocation:
        """Choose widths within the budget; see `Allocator`.

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


def _check_scale(name: str, scale: Sequence[float], problem: Problem) -> None:
    if len(scale) != len(problem.sizes) or min(scale, default=1) <= 0:
        raise ValueError(f"{name} needs {len(problem.sizes)} positive entries")


def _proportional(problem: Problem, scale: Sequence[float]) -> Levels:
    """Return the widest levels within the budget at densities in proportion to `scale`."""
    needed: list[Array] = [
        width / float(width[-1]) / share for width, share in zip(problem.widths, scale, strict=True)
    ]
    factors = np.unique(np.concatenate(needed))

    def scaled(index: int) -> Levels:
        limit = float(factors[index]) * (1 + _ROUNDING)
        return tuple(max(0, int(np.searchsorted(need, limit, side="right")) - 1) for need in needed)

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
