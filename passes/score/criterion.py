"""The interface of criteria, and the scores they return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from graphprune.analysis.analyse import Analysis
from graphprune.errors import OptionError
from graphprune.passes.observe import Observations

__all__ = ["Criterion", "Scores", "additive", "checked", "required"]


@dataclass(frozen=True)
class Scores:
    """Importance scores of all channels, and the distortion curves of all groups.

    Attributes:
        values: group id -> ``[width]``, float64, not negative; comparable between groups as far
            as the criterion makes it so.
        notes: remarks for the user on how they were computed.
        readers: group id -> number of layers that read the group; 1 where it is absent.
        curves: group id -> ``[width + 1]``, for criteria that measure the distortion itself, when
            channels are removed in the order of the values.
        variants: other forms of the curves, by name, for ``Choose`` to try.
    """

    values: Mapping[str, NDArray[np.float64]]
    notes: tuple[str, ...] = ()
    readers: Mapping[str, int] = field(default_factory=dict)
    curves: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    variants: Mapping[str, Mapping[str, NDArray[np.float64]]] = field(default_factory=dict)

    def order(self, group: str) -> NDArray[np.int64]:
        """Return the channels from most to least important; equal ones by number."""
        return np.argsort(-self.values[group], kind="stable")

    def curve(self, group: str) -> NDArray[np.float64]:
        """Return the distortion ``[width + 1]`` by number of channels kept; 0 at the full width.

        Where the criterion gives no curve, it is the share of the group's score that is removed,
        once for each layer that reads the group: a residual stream that feeds ten layers isn't
        cut as lightly as the inside of one block.
        """
        if group in self.curves:
            return self.curves[group]
        kept = np.concatenate([[0.0], np.cumsum(self.values[group][self.order(group)])])
        if kept[-1] <= 0:
            return np.zeros_like(kept)
        return np.maximum(1.0 - kept / kept[-1], 0.0) * self.readers.get(group, 1)

    def keep(self, group: str, width: int) -> tuple[int, ...]:
        """Return the ``width`` most important channels, ascending."""
        return tuple(sorted(int(i) for i in self.order(group)[:width]))


def additive(values: Mapping[str, NDArray[np.float64]], notes: tuple[str, ...] = ()) -> Scores:
    """Make scores that are on one scale in all groups: a curve sums the scores that are removed."""
    curves = {
        name: np.concatenate([np.cumsum(np.sort(v))[::-1], [0.0]]) for name, v in values.items()
    }
    return Scores(values, notes, curves=curves)


def required(observations: Observations | None, criterion: object) -> Observations:
    """Return the observations, for a criterion that needs them.

    Raises:
        OptionError: if there is no calibration data.
    """
    if observations is None:
        raise OptionError(
            f"{criterion} needs calibration data",
            hint="give inputs of the model; a few hundred unlabelled ones suffice",
            options=("calibration",),
        )
    return observations


def checked(scores: Scores, analysis: Analysis, criterion: object) -> Scores:
    """Check what a criterion returned, which may be the user's own.

    Returns:
        The same scores; of all groups, in float64.

    Raises:
        OptionError: if a group has no scores, or not one finite number of at least 0 for each channel.
    """
    values: dict[str, NDArray[np.float64]] = {}
    for group in analysis.groups:
        found = np.asarray(scores.values.get(group.id, ()), dtype=np.float64)
        if found.shape != (group.width,) or not (np.isfinite(found) & (found >= 0)).all():
            raise OptionError(
                f"{criterion} doesn't give the {group.width} channels of {group.id} a score each",
                hint="a score is a finite number, at least 0",
                options=("score",),
            )
        values[group.id] = found
    return replace(scores, values=values)


class Criterion(Protocol):
    """Criterion that scores every channel of every group.

    Attributes:
        needs_data: whether it needs calibration data; only then are moments of the inputs of layers measured.
    """

    needs_data: ClassVar[bool]

    def __call__(self, analysis: Analysis, observations: Observations | None = None) -> Scores:
        """Score the channels of all groups, reducing over all parameters of each.

        Args:
            analysis: the analysis of the dense program.
            observations: measurements on calibration data, and the data itself, if there are any.
        """
        ...
