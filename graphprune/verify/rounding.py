"""How far two computations in the model's own precision may differ: by what rounding explains.

Inputs decide how much rounding loses: a sigmoid far in its tail, or a difference of large numbers,
loses more than usual. What such inputs don't decide is tried on others.
"""

from __future__ import annotations

__all__ = ["DRAWS", "MOST_TOLERANCE", "ROUNDING", "allowed_error"]

MOST_TOLERANCE = 1e-2
"""Relative error that is never allowed: where rounding alone loses more, other inputs are drawn."""

ROUNDING = 10
"""How many times the error of the program's own precision is allowed."""

DRAWS = 4
"""How often inputs are drawn, until there are some on which rounding loses little."""


def allowed_error(least: float, rounding: float, most: float = MOST_TOLERANCE) -> float:
    """Compute the relative error that rounding explains.

    Args:
        least: what is always allowed.
        rounding: what the program's own precision loses on the same inputs, against float64.
        most: what is never allowed, unless ``least`` is more.
    """
    return max(least, min(ROUNDING * rounding, most))
