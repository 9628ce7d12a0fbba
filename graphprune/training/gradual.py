"""Gradual pruning: more and more channels are held at zero, and the others are refitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from .method import Method, Moment, check_options, hold_at_zero

__all__ = ["Gradual"]


@dataclass(frozen=True)
class Gradual(Method):
    """Plan again and again for a budget that shrinks, and hold what each plan removes at zero.

    The share of the way to the budget is ``1 - (1 - t)^3``: fast at first, while there is much to choose from
    (Zhu & Gupta 2017, arXiv:1710.01878, equation 1, with costs for numbers of weights). A channel whose coupled
    rows are all zero has no gradient, so it doesn't come back.

    With calibration data the layers that stay are refitted by least squares after each plan, towards what the network
    computed right before it, so that the training goes on from nearly the same function.

    Attributes:
        reached: share of the steps after which the budget is reached, (0, 1].
        updates: how many plans there are.
        repair: whether layers are refitted, where there is calibration data.
    """

    name: ClassVar[str] = "gradual"
    reached: float = 0.5
    updates: int = 12
    repair: bool = True

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        check_options(self, ("updates",), ("reached",))

    @property
    def refits(self) -> bool:
        """Whether what stays is refitted after each plan."""
        return self.repair

    def plans(self, steps: int) -> Mapping[int, float]:
        """Plan at equal distances, nearer and nearer to the budget."""
        shares = [(n + 1) / max(self.updates, 1) for n in range(max(self.updates, 1))]
        return {max(1, round(steps * self.reached * t)): 1.0 - (1.0 - t) ** 3 for t in shares}

    def after_step(self, now: Moment) -> None:
        """Set what goes to zero."""
        hold_at_zero(now)
