"""What methods share that make the plan anew while they press, and then let what goes fade."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .method import Method, check_options

__all__ = ["Replanned", "rounds"]


@dataclass(frozen=True)
class Replanned(Method):
    """Base class of methods that choose the channels to go again and again until the share ``fixed`` of the steps.

    Attributes:
        strength: of what presses; each method says in which unit.
        fixed: share of the steps after which the plan stays, (0, 1].
        faded: share of the steps after which the channels that go are zero, (0, 1].
        updates: how often the plan is made anew until then.
        others: what presses channels that stay, relative to those that go.
    """

    strength: float = 1.0
    fixed: float = 0.3
    faded: float = 0.6
    updates: int = 8
    others: float = 0.1

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        check_options(self, ("strength", "updates", "others"), ("fixed", "faded"))

    def plans(self, steps: int) -> Mapping[int, float]:
        """Plan for the whole budget at equal distances."""
        return rounds(steps, self.fixed, self.updates)


def rounds(steps: int, until: float, updates: int) -> dict[int, float]:
    """Plan for the whole budget before the first step, and ``updates`` times at equal distances after it."""
    numbers = [round(steps * until * n / max(updates, 1)) for n in range(updates + 1)]
    return dict.fromkeys(numbers, 1.0)
