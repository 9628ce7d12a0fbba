"""Budget: the bound to meet."""

from __future__ import annotations

import re
from dataclasses import dataclass

from graphprune.errors import PlanError

__all__ = ["Budget", "parse_amount"]

_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_AMOUNT = re.compile(r"^\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([KMGT]?)\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class Budget:
    """An upper bound on one cost.

    Attributes:
        cost: ``"macs"`` or ``"params"``.
        amount: up to 1: a fraction of the dense cost; above: absolute, in MACs or elements.
    """

    cost: str
    amount: float

    def __post_init__(self) -> None:
        """Refuse amounts that can't be meant.

        Raises:
            PlanError: unless the amount is a positive number.
        """
        if not 0 < self.amount < float("inf"):
            raise PlanError(f"a budget must be a positive number, got {self.amount}",
                            hint="0.5 is half of the dense cost, 1.2G is absolute")

    @property
    def is_fraction(self) -> bool:
        """Whether the amount is relative to the dense cost."""
        return self.amount <= 1

    def absolute(self, dense: float) -> float:
        """The bound in the unit of the cost."""
        return self.amount * dense if self.is_fraction else self.amount

    @staticmethod
    def flops(amount: float | str) -> Budget:
        """A bound on FLOPs: a fraction, or an absolute number of FLOPs (1 MAC = 2 FLOPs)."""
        number = parse_amount(amount)
        return Budget("macs", number if number <= 1 else number / 2)

    @staticmethod
    def params(amount: float | str) -> Budget:
        """A bound on parameters: a fraction, or an absolute number."""
        return Budget("params", parse_amount(amount))


def parse_amount(amount: float | str) -> float:
    """``0.5``, ``"0.5"``, ``"50%"`` or ``"1.2G"`` as a number.

    Raises:
        PlanError: for anything else.
    """
    if isinstance(amount, int | float):
        return float(amount)
    if amount.strip().endswith("%"):
        return parse_amount(amount.strip()[:-1]) / 100
    match = _AMOUNT.match(amount)
    if match is None:
        raise PlanError(f"can't read {amount!r} as a budget",
                        hint="0.5 is half of the dense cost, 1.2G is absolute")
    return float(match[1]) * _UNITS[match[2].upper()]
