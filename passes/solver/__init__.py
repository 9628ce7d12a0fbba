"""Solver of the allocation problem: which width of every group meets the budget at least distortion?

Pure numpy and networkx: a `Problem` is made of arrays, and any allocator in `ALLOCATORS`
turns it into an `Allocation`. The README of this folder gives the reading order.

Example:
    >>> import numpy as np
    >>> widths = (np.arange(1, 9), np.arange(1, 9))
    >>> curves = (np.linspace(1, 0, 8) ** 2, 3 * np.linspace(1, 0, 8) ** 2)
    >>> problem = Problem.from_polynomial(widths, curves, {(0, 1): 9.0}, budget=9.0 * 32)
    >>> found = ALLOCATORS["dp"]()(problem)
    >>> found.levels, found.cost, found.gap
    ((3, 7), 288.0, 0.0)
"""

from __future__ import annotations

from .allocators import ALLOCATORS, Allocator
from .baselines import (
    ErdosRenyiKernel,
    GlobalThreshold,
    PQIndex,
    RandomSearch,
    Uniform,
    pq_index,
)
from .charged import Charged
from .cost_tables import Factor
from .curve_correction import Correction, correct
from .dp import DynamicProgramming
from .equal_widths import EqualWidths
from .local_search import approach
from .multi_budget import JointlyInfeasible, allocate
from .problem import Allocation, Infeasible, Problem

__all__ = [
    "ALLOCATORS",
    "Allocation",
    "Allocator",
    "Charged",
    "Correction",
    "DynamicProgramming",
    "EqualWidths",
    "ErdosRenyiKernel",
    "Factor",
    "GlobalThreshold",
    "Infeasible",
    "JointlyInfeasible",
    "PQIndex",
    "Problem",
    "RandomSearch",
    "Uniform",
    "allocate",
    "approach",
    "correct",
    "pq_index",
]
