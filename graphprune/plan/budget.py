"""Budgets: upper bounds on the costs of the smaller model, and how they are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphprune.errors import OptionError

__all__ = ["Budget", "budgets", "parse_amount"]

_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_TIMES = {"us": 1.0, "ms": 1e3, "s": 1e6}
_BYTES = {
    "KiB": 2.0**10,
    "MiB": 2.0**20,
    "GiB": 2.0**30,
    "kB": 1e3,
    "KB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
}
_AMOUNT = re.compile(r"^\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([KMGT%]?)\s*$", re.IGNORECASE)
_HINT = "0.5 is half of the dense cost, 1.2G is absolute"


@dataclass(frozen=True)
class Budget:
    """An upper bound on one cost of the smaller model.

    Attributes:
        cost: ``"macs"``, ``"params"``, ``"latency"``, ``"memory"`` or ``"size"``.
        amount: up to 1: a fraction of the dense cost; above: absolute, in MACs, elements,
            microseconds or bytes.
    """

    cost: str
    amount: float

    def __post_init__(self) -> None:
        """Refuse an amount that can't be a budget.

        Raises:
            OptionError: unless the amount is a positive number.
        """
        if not 0 < self.amount < float("inf"):
            raise OptionError(f"a budget must be a positive number, got {self.amount}", hint=_HINT)

    @property
    def is_fraction(self) -> bool:
        """Whether the amount is relative to the dense cost."""
        return self.amount <= 1

    def absolute(self, dense: float) -> float:
        """Convert the bound to the unit of the cost, given the dense cost."""
        return self.amount * dense if self.is_fraction else self.amount

    @staticmethod
    def flops(amount: float | str) -> Budget:
        """Make a bound on FLOPs: a fraction, or an absolute number of FLOPs (1 MAC = 2 FLOPs).

        Raises:
            OptionError: if it can't be read, or is an absolute number of one MAC or less.
        """
        number = parse_amount(amount)
        if 1 < number <= 2:  # half of it would be a fraction
            raise OptionError(f"the budget {amount!r} is too small", hint=_HINT)
        return Budget("macs", number if number <= 1 else number / 2)

    @staticmethod
    def params(amount: float | str) -> Budget:
        """Make a bound on parameters: a fraction, or an absolute number."""
        return Budget("params", parse_amount(amount))

    @staticmethod
    def latency(amount: float | str) -> Budget:
        """Make a bound on the time of a run: a fraction, or ``8ms``, ``500us``, ``1.5s``."""
        return Budget("latency", _with_unit(amount, _TIMES))

    @staticmethod
    def memory(amount: float | str) -> Budget:
        """Make a bound on weights and the largest live activations: a fraction, or ``20MB``."""
        return Budget("memory", _with_unit(amount, _BYTES))

    @staticmethod
    def size(amount: float | str) -> Budget:
        """Make a bound on the size of the ONNX file: a fraction, or ``5MB``."""
        return Budget("size", _with_unit(amount, _BYTES))


def budgets(amounts: Mapping[str, float | str | None]) -> tuple[Budget, ...]:
    """Make budgets from amounts by the names of their options: ``{"flops": 0.5, "latency": "8ms"}``.

    Raises:
        OptionError: if there is none, or one can't be read.
    """
    makers = {
        "flops": Budget.flops,
        "params": Budget.params,
        "latency": Budget.latency,
        "memory": Budget.memory,
        "size": Budget.size,
    }
    asked = {name: amount for name, amount in amounts.items() if amount is not None}
    made = tuple(makers[name](amount) for name, amount in asked.items() if amount != "")
    if not made:
        raise OptionError(
            "give a budget",
            hint="one or several; 0.5 is half of the dense cost",
            options=tuple(makers),
        )
    return made


def _with_unit(amount: float | str, units: Mapping[str, float]) -> float:
    """Read a fraction as it is, or a number with a unit as a multiple of the smallest unit.

    A number above 1 without a unit is refused: it could be meant in any.
    """
    if isinstance(amount, str):
        match = re.fullmatch(r"\s*(.*?)\s*(" + "|".join(units) + r")\s*", amount)
        if match is not None:
            value = parse_amount(match[1]) * units[match[2]]
            if value > 1:
                return value
            raise OptionError(f"the budget {amount!r} is too small")
    value = parse_amount(amount)
    if value > 1:
        raise OptionError(
            f"the budget {amount!r} needs a unit",
            hint=f"0.5 is half of the dense cost; or one of {', '.join(units)}",
        )
    return value


def parse_amount(amount: float | str) -> float:
    """Read an amount, ``0.5``, ``"0.5"``, ``"50%"`` or ``"1.2G"``, as a number.

    Raises:
        OptionError: for anything else, and for more than 100%, which would be read as an absolute amount.
    """
    if not isinstance(amount, str):
        return _number(amount)
    match = _AMOUNT.match(amount)
    if match is None:
        raise OptionError(f"can't read {amount!r} as a budget", hint=_HINT)
    if match[2] != "%":
        return float(match[1]) * _UNITS[match[2].upper()]
    share = float(match[1]) / 100
    if share > 1:
        raise OptionError(f"{amount!r} is more than the dense cost", hint=_HINT)
    return share


def _number(amount: Any) -> float:
    """Convert what other libraries hold a number in, such as an array without a dimension."""
    try:
        return float(amount)
    except (TypeError, ValueError, RuntimeError) as error:
        raise OptionError(f"can't read {amount!r:.80} as a budget", hint=_HINT) from error
