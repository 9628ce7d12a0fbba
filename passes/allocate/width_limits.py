"""Limits on the widths: which ones each group may have, and which groups must have equal ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.equal_splits import equal_splits
from graphprune.analysis.groups import Group
from graphprune.analysis.removable import Branch
from graphprune.errors import OptionError
from graphprune.passes.solver import EqualWidths
from graphprune.rebuild.class_constraints import ClassConstraints
from graphprune.rebuild.config_fields import ConfigFields

from .rounding import Rounding, rounded
from .width_ties import WidthTies

__all__ = ["Limits"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The user's limits on the widths; the attributes are those of ``Allocate``."""

    round_to: Rounding
    min_channels: int
    max_cut: float
    protect: tuple[str, ...]
    keep_class: bool
    uniform: tuple[tuple[str, ...], ...] = ()
    keep_config: bool = False
    depth: bool = False

    def __post_init__(self) -> None:
        """Refuse limits that are out of range.

        Raises:
            OptionError: with the option's name.
        """
        multiple = self.round_to if isinstance(self.round_to, int) else 1
        if multiple < 1 or self.min_channels < 1 or not 0 <= self.max_cut <= 1:
            raise OptionError(
                "round_to and min_channels must be at least 1, max_cut within 0..1",
                options=("round_to", "min_channels", "max_cut"),
            )

    def widths(
        self,
        analysis: Analysis,
        constraints: ClassConstraints | None = None,
        config: ConfigFields | None = None,
    ) -> tuple[list[NDArray[np.int64]], EqualWidths]:
        """Return the candidate widths of every group, and which groups must have equal widths.

        Widths ascend up to the dense one. With ``round_to="auto"`` they aren't rounded yet, as
        that takes a latency table. Constraints that are given hold also without ``keep_class``, which
        insists on them.

        Raises:
            OptionError: if a pattern of ``protect`` matches no group and no parameter, or one of
                ``uniform`` no group or groups of unlike widths.
        """
        for pattern in self.protect:
            known = any(_matches(group, pattern) for group in analysis.groups)
            if not known and not any(fnmatchcase(name, pattern) for name in analysis.tensors):
                raise OptionError(
                    f"nothing matches the pattern {pattern!r}",
                    hint="`graphprune inspect` lists the groups and their parameters",
                    options=("protect",),
                )
        ties = WidthTies(analysis.groups)
        for patterns in self.uniform:
            ties = ties.matching(patterns)
        whole = frozenset[str]()
        if constraints:
            ties = ties.tied(constraints.firsts)
            whole |= constraints.whole
        elif self.keep_class:
            ties = ties.tied(equal_splits(analysis))
        if self.keep_config and config:
            ties = ties.tied(config.firsts).in_parts(config.parts)
            whole |= set(config.reasons)
        found = [
            np.asarray([group.width]) if group.id in whole else self._candidates(group)
            for group in analysis.groups
        ]
        leads = self._leads(analysis, constraints) if self.depth else ()
        found = [np.append(0, w) if n in leads else w for n, w in enumerate(found)]
        return found, ties.classes()

    def _leads(self, analysis: Analysis, constraints: ClassConstraints | None) -> frozenset[int]:
        """List the groups that may go whole, each with its branch: none of which is held by a limit."""
        if self.min_channels > 1 or self.max_cut < 1 or self.keep_config:
            return frozenset()
        if constraints is None and self.keep_class:
            return frozenset()
        held = {
            number
            for number, group in enumerate(analysis.groups)
            if any(_matches(group, pattern) for pattern in self.protect)
        }
        return frozenset(
            branch.lead
            for branch in analysis.removable.branches
            if held.isdisjoint(branch.groups)
            and (constraints is None or branch.lead in constraints.branches)
            and not self._reads_held(analysis, branch)
        )

    def _reads_held(self, analysis: Analysis, branch: Branch) -> bool:
        """Whether a tensor that a pattern protects goes with a branch, though no channel of it is cut."""
        names = {
            str(node.target)
            for node in analysis.nodes
            if node.op == "get_attr" and branch.takes(node) and node.users
        }
        return any(fnmatchcase(name, pattern) for name in names for pattern in self.protect)

    def _candidates(self, group: Group) -> NDArray[np.int64]:
        least = max(self.min_channels, math.ceil(group.width * (1 - self.max_cut)), 1)
        if any(_matches(group, pattern) for pattern in self.protect) or least >= group.width:
            return np.asarray([group.width])
        return rounded(np.arange(least, group.width + 1), group.width, self.round_to, group.run)

    @property
    def relaxable(self) -> dict[str, Any]:
        """Return which limits could be relaxed, by the names of the options, with their values."""
        values = {
            "protect": self.protect,
            "round_to": self.round_to not in (1, "fast") and self.round_to,
            "min_channels": self.min_channels > 1 and self.min_channels,
            "max_cut": self.max_cut < 1 and self.max_cut,
            "keep_class": self.keep_class,
            "uniform": self.uniform,
            "keep_config": self.keep_config,
        }
        return {name: value for name, value in values.items() if value}

    def hint(self) -> str:
        """Return the limits that could be relaxed in words; empty if there are none."""
        limits = [f"{name}={value!r}" for name, value in self.relaxable.items()]
        return f"relax {', '.join(limits)}; " if limits else ""


def _matches(group: Group, pattern: str) -> bool:
    names = (group.id, *(o.tensor for o in group.occurrences))
    return any(fnmatchcase(name, pattern) for name in names)
