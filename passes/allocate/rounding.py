"""Which widths run fast: multiples that fill vector registers, where that leaves enough of a choice."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rounding", "rounded"]

Rounding = int | Literal["fast", "auto"]
"""A multiple; ``"fast"``: powers of two by the group's width; ``"auto"``: by a latency table."""

BLOCK = 16
"""Channels that are computed at once: 64 bytes of float32, as in AVX-512 and a cache line."""

STEPS = 4
"""Fewest multiples in a group: one of 16 channels can keep 4, 8 or 12."""


def rounded(widths: NDArray[np.int64], width: int, to: Rounding) -> NDArray[np.int64]:
    """Leave out widths that aren't rounded.

    With ``"fast"``, widths are multiples of 16 in groups of at least 64 channels, of 8 in those of 32, of 4
    in those of 16, and so on: every group can keep a quarter, a half or three quarters.

    Args:
        widths: candidates, ascending, up to the dense one.
        width: the dense one.
        to: what to round to. ``"auto"`` leaves all, as that takes a latency table.
    """
    if to == "auto":
        return widths
    multiple = fast_multiple(width) if to == "fast" else to
    return widths[(widths % multiple == 0) | (widths == width)]


def fast_multiple(width: int) -> int:
    """Return the multiple that widths of a group are rounded to: a power of two."""
    multiple = BLOCK
    while multiple > 1 and width < STEPS * multiple:
        multiple //= 2
    return multiple
