"""How long to train: a number of steps, or a time."""

from __future__ import annotations

import re
from dataclasses import dataclass

from graphprune.errors import OptionError

__all__ = ["Effort"]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Effort:
    """Steps or seconds, whichever isn't 0.

    Attributes:
        steps: of the optimiser.
        seconds: of training, evaluations included.
    """

    steps: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what can't be meant.

        Raises:
            OptionError: unless exactly one is positive.
        """
        if min(self.steps, self.seconds) < 0 or (self.steps > 0) == (self.seconds > 0):
            raise OptionError("give a positive number of steps, or a time", hint="2000, or 5m")

    @classmethod
    def parse(cls, text: str | int) -> Effort:
        """``2000`` steps, or ``90s``, ``5m``, ``1.5h``.

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
        """How much of it is spent, from 0; 1 and above: all."""
        return steps / self.steps if self.steps else seconds / self.seconds
