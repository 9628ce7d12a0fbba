"""Effort of training: a number of steps, or a time."""

from __future__ import annotations

import re
from dataclasses import dataclass

from graphprune.errors import OptionError

__all__ = ["Effort"]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Effort:
    """How long to train: a number of steps or seconds, whichever isn't 0.

    Attributes:
        steps: steps of the optimiser.
        seconds: seconds of training, evaluations included.
    """

    steps: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Refuse efforts that aren't positive, or state both.

        Raises:
            OptionError: unless exactly one is positive.
        """
        if min(self.steps, self.seconds) < 0 or (self.steps > 0) == (self.seconds > 0):
            raise OptionError("give a positive number of steps, or a time", hint="2000, or 5m")

    @classmethod
    def parse(cls, text: str | int) -> Effort:
        """Parse ``2000`` steps, or a time: ``90s``, ``5m``, ``1.5h``.

        Raises:
            OptionError: if it isn't written like that.

        >>> Effort.parse("5m").seconds
        300.0
        """
        found = re.fullmatch(r"(\d+|\d+\.\d+(?=[smh]))\s*([smh]?)", str(text).strip())
        if found is None:
            raise OptionError(f"can't read {text!r} as steps or a time", hint="2000, or 5m")
        number, unit = found.groups()
        return cls(seconds=float(number) * _UNITS[unit]) if unit else cls(steps=int(number))

    def share(self, steps: int, seconds: float) -> float:
        """Return the share of the effort that is spent, from 0; from 1 on, all of it."""
        return steps / self.steps if self.steps else seconds / self.seconds
