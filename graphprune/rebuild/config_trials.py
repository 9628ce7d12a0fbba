"""Try which fields of a config move which widths: each alone, then those together that fail alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .config_response import Response, Responses

__all__ = ["Trials", "WidthField"]

MOST_TOGETHER = 4
"""Largest number of fields that are changed together."""

_Exponents = Mapping[Any, float]


@dataclass(frozen=True, eq=False)
class WidthField:
    """Fields of a config that set the widths of some groups, all in one proportion.

    Attributes:
        fields: their dense values by name.
        groups: numbers of the groups.
        parts: into how many equal parts the values and the widths can be divided.
    """

    fields: Mapping[str, int]
    groups: tuple[int, ...]
    parts: int


class Trials:
    """Changes of single fields, and of several together, with what follows each.

    Args:
        responses: of the model's program.
        fields: the numbers of the config, by name.
        computed: numbers of the groups whose width the code gives to a tensor that it computes, with its name.
        tell: told how far it is.
    """

    def __init__(
        self,
        responses: Responses,
        fields: Mapping[str, int],
        computed: Mapping[int, str],
        tell: Callable[[str], Any],
    ) -> None:
        self._responses, self._fields = responses, fields
        self._computed, self._tell = computed, tell
        self._moves: dict[tuple[str, ...], _Exponents] = {}
        self._problems: dict[str, str] = {}
        self._places: dict[tuple[str, ...], str] = {}
        failed: list[str] = []
        for number, name in enumerate(fields, 1):
            tell(f"config field {number} of {len(fields)}")
            failed += [] if self._try(name) else [name]
        for names in itertools.combinations(failed, 2):
            self._try(*names)
        for names in self._threes():
            self._try(*names)

    def _try(self, *names: str) -> bool:
        """Change fields together, up or down.

        Returns:
            Whether the matter is settled: they move widths, or no change of other fields beside them can help.
        """
        for numerator, denominator in ((2, 1), (1, 2), (3, 1)):
            values = {name: self._fields[name] for name in names}
            if any(value % denominator for value in values.values()):
                continue
            changes = {name: v * numerator // denominator for name, v in values.items()}
            response = self._responses.to(changes)
            if not response.problem:
                if exponents := _exponents(response, numerator / denominator):
                    self._moves[names] = exponents
                return True
            self._problems.setdefault(", ".join(names), response.problem)
            if response.computed:
                self._places.setdefault(names, response.computed)
            if not response.alone:
                return True
        return False

    def _threes(self) -> list[tuple[str, ...]]:
        """Add a third field to pairs that fail by the size of a computed tensor, which that field alone changes too."""
        alone = {names[0]: place for names, place in self._places.items() if len(names) == 1}
        return [
            (*names, third)
            for names, place in self._places.items()
            if len(names) == 2 and alone.keys().isdisjoint(names)
            for third, other in alone.items()
            if other == place
        ]

    def settings(self) -> tuple[WidthField, ...]:
        """Choose fields, and sets of fields, that move widths alone; fewer fields first."""
        chosen: list[WidthField] = []
        taken: set[int] = set()
        for count in range(1, MOST_TOGETHER + 1):
            for moves in itertools.combinations(self._moves, count):
                groups = self._moved(moves)
                names = tuple(name for move in moves for name in move)
                if groups and not taken & set(groups) and self._confirmed(names, groups):
                    values = {name: self._fields[name] for name in names}
                    parts = math.gcd(*values.values(), *(self._width(g) for g in groups))
                    chosen.append(WidthField(values, groups, parts))
                    taken |= set(groups)
        return tuple(chosen)

    def _width(self, group: int) -> int:
        return self._responses.dense_widths[group]

    def _moved(self, moves: Sequence[tuple[str, ...]]) -> tuple[int, ...]:
        """Return the groups that move in proportion to some fields; none if anything else happens."""
        total = self._total(moves)
        groups = tuple(sorted(key for key in total if isinstance(key, int)))
        names = [name for move in moves for name in move]
        plain = (
            len(set(names)) == len(names)
            and len(groups) == len(total)
            and all(total[g] == 1 for g in groups)
        )
        return groups if plain and not any(g in self._computed for g in groups) else ()

    def _total(self, moves: Sequence[tuple[str, ...]]) -> dict[Any, float]:
        total: dict[Any, float] = {}
        for move in moves:
            for key, exponent in self._moves[move].items():
                total[key] = round(total.get(key, 0.0) + exponent, 9)
        return {key: exponent for key, exponent in total.items() if exponent}

    def _confirmed(self, names: Sequence[str], groups: Sequence[int]) -> bool:
        if len(names) == 1:
            return True
        self._tell(f"config fields {', '.join(names)}")
        response = self._responses.to({name: 2 * self._fields[name] for name in names})
        return not response.problem and _exponents(response, 2) == dict.fromkeys(groups, 1.0)

    def why(self, group: int) -> str:
        """Say what stands against the fields that move a group, if there are any."""
        if group in self._computed:
            return f"the code computes {self._computed[group]} from the config"
        for move, exponents in self._moves.items():
            if group in exponents:
                others = any(not isinstance(key, int) for key in exponents)
                more = "a number in the code" if others else "other widths"
                return f"{' with '.join(move)} of the config sets it, but changes {more} too"
        return "; ".join(f"{name}: {why}" for name, why in self._problems.items())


def _exponents(response: Response, factor: float) -> dict[Any, float]:
    """Return the powers of a field by which widths, by number, and numbers in the code, by place, go."""
    ratios = {**response.widths, **response.numbers}
    return {
        key: round(math.log(ratio, factor), 9) if 0 < ratio < math.inf else math.inf
        for key, ratio in ratios.items()
    }
