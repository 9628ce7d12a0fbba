"""Limits: which widths each group may have, and which groups have to agree."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.equal_splits import equal_pieces
from graphprune.analysis.groups import Group
from graphprune.errors import PlanError
from graphprune.passes.solver import Ties

__all__ = ["Limits"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the user wants of the widths; the attributes are those of ``Allocate``."""

    round_to: int | Literal["auto"]
    min_channels: int
    max_cut: float
    protect: tuple[str, ...]
    keep_class: bool
    firsts: tuple[int, ...]
    whole: frozenset[str]

    def __post_init__(self) -> None:
        """Refuse limits that can't be meant.

        Raises:
            PlanError: with the option's name.
        """
        multiple = 1 if self.round_to == "auto" else self.round_to
        if multiple < 1 or self.min_channels < 1 or not 0 <= self.max_cut <= 1:
            raise PlanError("round-to and min-channels must be at least 1, max-cut within 0..1")

    def widths(self, analysis: Analysis) -> tuple[list[NDArray[np.int64]], Ties]:
        """Candidate widths of every group, ascending up to the dense one; and groups that are one.

        With ``round_to="auto"`` they aren't rounded yet, as that takes a latency table.

        Raises:
            PlanError: if nothing has the name of what is to be protected.
        """
        for pattern in self.protect:
            if not any(_matches(group, pattern) for group in analysis.groups):
                raise PlanError(
                    f"nothing matches --protect {pattern!r}",
                    hint="`graphprune inspect` lists the groups and their parameters",
                )
        found = [
            np.asarray([group.width]) if group.id in self.whole else self._candidates(group)
            for group in analysis.groups
        ]
        if not self.keep_class:
            return found, Ties.of(range(len(found)))
        return found, Ties.of(self.firsts or equal_pieces(analysis))

    def _candidates(self, group: Group) -> NDArray[np.int64]:
        least = max(self.min_channels, math.ceil(group.width * (1 - self.max_cut)), 1)
        if any(_matches(group, pattern) for pattern in self.protect) or least >= group.width:
            return np.asarray([group.width])
        widths = np.arange(least, group.width + 1)
        if self.round_to == "auto":
            return widths
        fits = (widths % self.round_to == 0) | (widths == group.width)
        return widths[fits]

    def hint(self) -> str:
        """What could be relaxed, as the command line names it; empty if there is nothing."""
        limits = [f"--protect {' '.join(self.protect)}"] if self.protect else []
        limits += [f"--round-to {self.round_to}"] if self.round_to != 1 else []
        limits += [f"--min-channels {self.min_channels}"] if self.min_channels > 1 else []
        limits += [f"--max-cut {self.max_cut}"] if self.max_cut < 1 else []
        limits += ["--keep-class"] if self.keep_class else []
        return f"relax {', '.join(limits)}; " if limits else ""


def _matches(group: Group, pattern: str) -> bool:
    names = (group.id, *(o.tensor for o in group.occurrences))
    return any(fnmatchcase(name, pattern) for name in names)
