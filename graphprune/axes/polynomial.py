"""Costs as polynomials in the widths of the groups.

One unit throughout: multiply-accumulates (MACs). A budget of ``flops=0.5`` asks for half of them, since
FLOPs = 2 x MACs. All figures are per sample where the program has a dynamic batch axis, and
for the example inputs where it has none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sympy

__all__ = ["Costs", "Polynomial", "total"]


@dataclass(frozen=True)
class Polynomial:
    """A polynomial in group widths, as a sum of terms: sorted group indices -> coefficient.

    Beside group numbers a term may hold *switches*: ``~g`` stands for 1 where group ``g`` keeps any channel,
    and for 0 where it goes whole. So costs that vanish with a group, without being in proportion to its
    width, are stated too.
    """

    terms: Mapping[tuple[int, ...], float]

    @staticmethod
    def constant(value: float) -> Polynomial:
        """Make a polynomial that depends on no width."""
        return Polynomial({(): float(value)} if value else {})

    @staticmethod
    def switch(groups: Iterable[int]) -> Polynomial:
        """Make the polynomial that is 1 where all of some groups keep a channel, else 0."""
        return Polynomial({tuple(sorted(~g for g in set(groups))): 1.0})

    def __mul__(self, other: Polynomial) -> Polynomial:
        """Multiply two polynomials term by term."""
        out: dict[tuple[int, ...], float] = {}
        for a, x in self.terms.items():
            for b, y in other.terms.items():
                key = _product(a, b)
                out[key] = out.get(key, 0.0) + x * y
        return Polynomial(out)

    def scaled(self, factor: float) -> Polynomial:
        """Multiply the polynomial by a number."""
        return Polynomial({key: value * factor for key, value in self.terms.items()})

    def at(self, widths: Sequence[int] | np.ndarray) -> float:
        """Evaluate the polynomial where group ``g`` keeps ``widths[g]`` channels."""
        return float(
            sum(c * math.prod(_value(g, widths) for g in key) for key, c in self.terms.items())
        )

    def expression(self, symbols: Sequence[sympy.Symbol]) -> sympy.Expr:
        """Convert the polynomial to a sympy expression in one symbol for each group."""
        terms = [
            sympy.nsimplify(c)
            * sympy.Mul(*(symbols[g] if g >= 0 else sympy.Min(1, symbols[~g]) for g in key))
            for key, c in sorted(self.terms.items())
        ]
        return sympy.Add(*terms)


def _product(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """Multiply two terms: a switch counts once, and not at all beside the width itself."""
    factors = (*a, *b)
    switches = {g for g in factors if g < 0 and ~g not in factors}
    return tuple(sorted((*switches, *(g for g in factors if g >= 0))))


def _value(factor: int, widths: Sequence[int] | np.ndarray) -> int:
    return int(widths[factor]) if factor >= 0 else int(widths[~factor] > 0)


def total(parts: Iterable[Polynomial]) -> Polynomial:
    """Add up polynomials, by terms with the same groups."""
    out: dict[tuple[int, ...], float] = {}
    for part in parts:
        for key, value in part.terms.items():
            out[key] = out.get(key, 0.0) + value
    return Polynomial(dict(sorted(out.items())))


@dataclass(frozen=True)
class Costs:
    """The costs of a program as functions of the widths of its groups.

    Attributes:
        macs: multiply-accumulates.
        params: elements of parameters (buffers not counted).
        weight_bytes: bytes of parameters and buffers.
        activation_bytes: bytes of all operator results together, not their peak.
        batch: how many samples the example inputs hold; ``macs`` and ``activation_bytes`` are
            already divided by it.
        symbols: one sympy symbol per group, in group order.
    """

    macs: Polynomial
    params: Polynomial
    weight_bytes: Polynomial
    activation_bytes: Polynomial
    batch: int
    symbols: tuple[sympy.Symbol, ...]

    def expression(self, name: str) -> sympy.Expr:
        """Give one cost (``"macs"``, ``"params"``, ...) as a sympy expression in the widths."""
        polynomial: Polynomial = getattr(self, name)
        return polynomial.expression(self.symbols)
