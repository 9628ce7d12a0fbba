"""Which widths run fast: multiples that fill vector registers, where that costs little."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import InfeasibleBudgetError
from graphprune.passes.decision import Decision

from .roofline import Roofline

__all__ = ["SLACK", "Multiples", "Rounding", "fastest", "rounded"]

LEAST = 4
"""Smallest multiple that is worth it: 16 bytes of float32, the narrowest vector register."""

SLACK = 0.005
"""Share of the dense cost that a plan may leave unused of its budget, where others that use it are worse."""

PRICE = 1.05
"""Factor by which the predicted distortion may rise for widths that run fast."""

PRICE_OF_WHOLE_BLOCKS = 1.1
"""The same for multiples of 16 in all layers: no kernel computes channels that aren't there, so these gain most."""


@dataclass(frozen=True)
class Multiples:
    """Widths that are multiples of a power of two: of a smaller one in groups too narrow for a choice.

    Attributes:
        of: the multiple in wide groups. 16 channels are computed at once: 64 bytes of float32, as in
            AVX-512 and a cache line.
        steps: fewest multiples in a group.
    """

    of: int
    steps: int

    def within(self, width: int, run: int = 1) -> int:
        """Return the multiple that widths of a group are rounded to; 1 where the group is too narrow.

        Args:
            width: the dense one.
            run: of how many neighbouring rows a channel consists, as a head or a whole group of a grouped
                convolution does: it is these that kernels compute in blocks.
        """
        multiple = self.of
        while multiple > LEAST and width < self.steps * (multiple // math.gcd(multiple, run)):
            multiple //= 2
        step = multiple // math.gcd(multiple, run)
        return step if width >= self.steps * step else 1


SLOWER = 0.06
"""Share of the dense time by which a plan may miss what its FLOPs promise before it is made to write less."""

WORTH = (0.6, 0.3)
"""What is tried as the worth of writing nothing, in distortions of the plan of any widths."""

Rounding = int | Literal["fast", "auto"] | Multiples
"""A multiple; ``"fast"``: multiples of up to 16 where that costs little; ``"auto"``: by a latency table."""

FAST = tuple(Multiples(*each) for each in ((16, 1), (16, 2), (16, 4), (8, 2), (8, 4), (4, 4)))
"""What is tried, from the fastest to the finest."""


def rounded(widths: NDArray[np.int64], width: int, to: Rounding, run: int = 1) -> NDArray[np.int64]:
    """Leave out widths that aren't rounded.

    Args:
        widths: candidates, ascending, up to the dense one.
        width: the dense one.
        to: what to round to. ``"fast"`` and ``"auto"`` leave all: the one takes a comparison of plans,
            the other a latency table.
        run: of how many neighbouring rows a channel consists; see ``Multiples.within``.
    """
    if to in ("fast", "auto"):
        return widths
    multiple = to.within(width, run) if isinstance(to, Multiples) else to
    return widths[(widths % multiple == 0) | (widths == width)]


def fastest(decide: Callable[[Rounding, float], Decision], roofline: Roofline | None) -> Decision:
    """Choose the coarsest multiples that fill the budgets and cost little; single channels if none do.

    Kernels compute channels in blocks, so that a plan of odd widths may be no faster than the dense network. How
    much coarse widths cost differs: next to nothing in wide networks, too much in narrow ones. So it is
    measured, by the distortion that the plans are predicted to have.

    Args:
        decide: makes the best plan of rounded widths, where it is worth so much distortion to write nothing.
        roofline: the time that plans are expected to take. Where it is more than their FLOPs promise, what is left
            of the price is spent on writing less. ``None``: no FLOPs are promised.

    Raises:
        InfeasibleBudgetError: if there is no plan of any widths.
    """
    free = decide(1, 0.0)
    if all(len(group.keep) == group.width for group in free.plan.groups):
        return free
    for multiples in FAST:
        try:
            found = decide(multiples, 0.0)
        except InfeasibleBudgetError:
            continue
        if found.plan == free.plan:
            return free
        if _affordable(found, free, multiples):
            if roofline is not None and roofline.falls_short(_widths(found), SLOWER):
                tries = (decide(multiples, worth * _distortion(free)) for worth in WORTH)
                found = next((t for t in tries if _affordable(t, free, multiples)), found)
            return replace(found, notes=(*found.notes, _note(multiples, found, free)))
    return free


def _affordable(found: Decision, free: Decision, multiples: Multiples) -> bool:
    """Whether a plan of rounded widths is as full as one of any widths, and little worse."""
    price = PRICE_OF_WHOLE_BLOCKS if multiples.steps == 1 else PRICE
    return _distortion(found) <= price * _distortion(free) and _as_full(found, free)


def _widths(found: Decision) -> list[int]:
    return [len(group.keep) for group in found.plan.groups]


def _distortion(found: Decision) -> float:
    return found.allocation.distortion


def _as_full(found: Decision, free: Decision) -> bool:
    """Whether a plan uses every budget all but whole, or at least as much of it as another."""
    pairs = zip(found.budgets, free.budgets, strict=True)
    return all(
        own.reached >= min(other.reached, min(own.bound, own.dense) - SLACK * own.dense)
        for own, other in pairs
    )


def _note(multiples: Multiples, found: Decision, free: Decision) -> str:
    """Say what was rounded, and what it is predicted to cost."""
    least = _distortion(free)
    cost = _distortion(found) / least - 1 if least else 0.0
    narrow = "" if multiples.steps == 1 else ", of fewer in narrow groups"
    return (
        f"widths are multiples of {multiples.of}{narrow}, which run fast: they raise the predicted "
        f"distortion by {max(cost, 0.0):.1%}"
    )
