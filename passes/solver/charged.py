"""Choose widths by their distortion and a charge on width, such as what the channels cost in memory traffic."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .dp import DynamicProgramming
from .problem import Allocation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .cost_tables import Array
    from .problem import Problem

__all__ = ["Charged"]


@dataclass(frozen=True)
class Charged:
    """Allocator for the least sum of distortion and charges within the budget.

    A level may stand for any below it, which costs no more. So curves in which a charge rises with the width
    become non-increasing, and the rest is dynamic programming.

    Attributes:
        charges: per group, what each of its candidate widths is charged, in the unit of the distortion.
        allocator: for the problem without charges.
    """

    name: ClassVar[str] = DynamicProgramming.name
    charges: Sequence[Array]
    allocator: DynamicProgramming = field(default_factory=DynamicProgramming)

    def __call__(self, problem: Problem) -> Allocation:
        """Choose widths; the figures are those of the distortion alone, without a lower bound.

        Raises:
            Infeasible: if no choice of widths meets the budget.
        """
        sums = [curve + charge for curve, charge in zip(problem.curves, self.charges, strict=True)]
        least = tuple(np.minimum.accumulate(each) for each in sums)
        levels = self.allocator(replace(problem, curves=least)).levels
        best = tuple(int(each[: n + 1].argmin()) for each, n in zip(sums, levels, strict=True))
        return Allocation.of(problem, best, self.name)
