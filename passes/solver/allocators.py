"""The table of allocators and their common interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from .baselines import ErdosRenyiKernel, GlobalThreshold, PQIndex, RandomSearch, Uniform
from .dp import DynamicProgramming

if TYPE_CHECKING:
    from .problem import Allocation, Problem

__all__ = ["ALLOCATORS", "Allocator"]


class Allocator(Protocol):
    """Rule that chooses one width per group. A frozen dataclass whose fields are its options."""

    name: ClassVar[str]

    def __call__(self, problem: Problem) -> Allocation:
        """Choose widths within the budget; equal inputs give equal outputs.

        Raises:
            Infeasible: if no choice of widths meets the budget.
        """
        ...


ALLOCATORS: dict[str, type[Allocator]] = {
    allocator.name: allocator
    for allocator in (
        DynamicProgramming,
        ErdosRenyiKernel,
        GlobalThreshold,
        PQIndex,
        RandomSearch,
        Uniform,
    )
}
"""Allocators by their ``name``."""
