"""Find by trial which fields of a model's config set which widths; no field is known by its name.

Every number in the config is doubled, and what follows in the traced program is compared with the dense one
(``config_response.py``). A field whose change moves widths alone, and no frozen size and no number of the code, can
state smaller widths. Fields that don't work alone may do so together (``config_trials.py``): where one field is the
model's width and another the number of heads, both shrink in one proportion, and the width of a head stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from graphprune.cut.cut import Cut
from graphprune.pipeline import RunFact

from .changed_numbers import changed_floats
from .config_response import Responses
from .config_trials import Trials, WidthField
from .configured import Configured

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from graphprune.analysis.analyse import Analysis

__all__ = ["ConfigFields", "config_fields"]


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
    tell = progress or (lambda _: None)
    trials = Trials(responses, found, _computed(configured, analysis), tell)
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
                break  # the field decides no shape
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
