"""Find by trial which fields of a model's config set which widths; no field is known by its name.

Every number in the config is doubled, and what follows in the traced program is compared with the dense one
(``config_response.py``). A field whose change moves widths alone, and no frozen size and no number of the code, can
state smaller widths. Fields that don't work alone may do so together: where one field is the model's width and
another the number of heads, both shrink in one proportion, and the width of a head stays.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from graphprune.cut.cut import Cut
from graphprune.pipeline import RunFact

from .config_response import Response, Responses
from .configured import Configured
from .follow_sizes import changed_floats

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from graphprune.analysis.analyse import Analysis

__all__ = ["ConfigFields", "WidthField", "config_fields"]

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


@dataclass(frozen=True)
class ConfigFields(RunFact):
    """Which widths a config can state.

    Attributes:
        configured: the dense model.
        dense: the dense width of every group.
        settings: fields, each with the groups that it sets; no group occurs twice.
        reasons: ids of the groups that no field sets, with what stands against it.
    """

    configured: Configured
    dense: tuple[int, ...]
    settings: tuple[WidthField, ...]
    reasons: Mapping[str, str]

    @property
    def firsts(self) -> tuple[int, ...]:
        """For each group the lowest number of those that are set by the same fields."""
        found = list(range(len(self.dense)))
        for setting in self.settings:
            for number in setting.groups:
                found[number] = min(setting.groups)
        return tuple(found)

    @property
    def parts(self) -> tuple[int, ...]:
        """For each group the number of its equal parts; 1 for a group that no field sets."""
        found = [1] * len(self.dense)
        for setting in self.settings:
            for number in setting.groups:
                found[number] = setting.parts
        return tuple(found)

    def values(self, widths: Sequence[int]) -> dict[str, int]:
        """Return the values of fields that give some widths.

        Args:
            widths: one per group, as the constraints allow them.
        """
        found: dict[str, Fraction] = {}
        for setting in self.settings:
            number = setting.groups[0]
            for name, value in setting.fields.items():
                ratio = Fraction(int(widths[number]), self.dense[number])
                found[name] = found.get(name, Fraction(value)) * ratio
        return {name: int(value) for name, value in found.items()}


def config_fields(
    model: Any,
    program: ExportedProgram,
    analysis: Analysis,
    progress: Callable[[str], Any] | None = None,
) -> ConfigFields:
    """Find the fields of a model's config that set widths of groups.

    Args:
        model: built from a config, as those of the transformers library are.
        program: traced from it.
        analysis: of the program.
        progress: told how far it is.

    Raises:
        OptionError: if the model has no config, or one that builds another model.
    """
    configured = Configured.of(model)
    responses = Responses(configured, analysis, program)
    found = dict(_numbers_in(configured, responses, analysis))
    if any(configured.values[name] is None for name in found):
        configured = Configured(configured.model, {**configured.values, **found})
        responses = Responses(configured, analysis, program)
    trials = _Trials(
        responses, found, _computed(configured, analysis), progress or (lambda _: None)
    )
    found_settings = trials.settings()
    unstated = {s: why for s in found_settings if (why := _unstated(configured, analysis, s))}
    settings = tuple(setting for setting in found_settings if setting not in unstated)
    taken = {number for setting in settings for number in setting.groups}
    numbers = {number: why for setting, why in unstated.items() for number in setting.groups}
    reasons = {
        group.id: numbers.get(number)
        or trials.why(number)
        or "no field of the config sets its width"
        for number, group in enumerate(analysis.groups)
        if number not in taken
    }
    dense = tuple(int(width) for width in analysis.widths)
    return ConfigFields(configured, dense, settings, reasons)


def _numbers_in(
    configured: Configured, responses: Responses, analysis: Analysis
) -> Iterator[tuple[str, int]]:
    """Yield the numbers in a config by name; those left open are found by the shapes that they give."""
    widths = sorted({int(width) for width in analysis.widths})
    for name, value in configured.values.items():
        if type(value) is int and value > 0:
            yield name, value
        if value is not None:
            continue
        # Where nothing is stated, a width of the dense network may stand for it.
        for width in widths:
            there, twice = (responses.shapes({name: n * width}) for n in (1, 2))
            if there == twice:
                break  # it isn't about shapes
            if there == responses.dense_shapes:
                yield name, width
                break


def _unstated(configured: Configured, analysis: Analysis, setting: WidthField) -> str:
    """Say which number of the code, such as a norm's epsilon, a cut changes that no field holds; ``""`` if none."""
    keep = {
        (group := analysis.groups[number]).id: np.arange(max(group.width // 2, 1))
        for number in setting.groups
    }
    held = {value for value in configured.values.values() if type(value) is float}
    changed = sorted({old for old, _ in changed_floats(Cut.keeping(analysis, keep))} - held)
    if not changed:
        return ""
    names = " with ".join(setting.fields)
    return f"{names} of the config sets it, but no field holds a number of the code that changes with it: {changed[0]}"


def _computed(configured: Configured, analysis: Analysis) -> dict[int, str]:
    """Find tensors that no file of weights holds, since the code computes them, by the groups they are in."""
    stored = configured.model.state_dict()
    return {
        number: where.tensor
        for number, group in enumerate(analysis.groups)
        for where in group.occurrences
        if where.tensor not in stored
    }


class _Trials:
    """Changes of single fields, and of several together."""

    def __init__(
        self,
        responses: Responses,
        fields: Mapping[str, int],
        computed: Mapping[int, str],
        tell: Callable[[str], Any],
    ) -> None:
        self._responses, self._fields, self._computed, self._tell = (
            responses,
            fields,
            computed,
            tell,
        )
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
        """Change fields, up or down; whether they can be, or never will, whatever else is changed."""
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
        """Add to pairs of fields a third one that gives the same computed tensor another size, as none of the pair does alone."""
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
