"""Find by trial which groups the code of a model's class can follow; the code isn't read.

Channels of some groups are removed, of all at first; where the class then doesn't compute what the cut graph does,
each half of these groups is tried by itself, until single ones are left. Of these, some go if they keep
equally many channels, as the queries and the values of attention whose code knows one size of a head.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn
from torch.export import ExportedProgram

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.equal_splits import equal_splits
from graphprune.cut.cut import Cut
from graphprune.errors import OptionError, VerifyError, first_line
from graphprune.ir.trace import FORWARD_ERRORS, user_line
from graphprune.ops.float64 import Tensors
from graphprune.pipeline import RunFact
from graphprune.verify.oracle import perturbed_tensors

from .computed_weights import stored_weights
from .rebuild import ClassComparison

__all__ = ["ClassConstraints", "class_constraints"]

ROUNDS = 2
"""Number of cuts, to unlike widths, that a class has to follow for a trial to succeed."""

Unit = tuple[int, ...]
"""Numbers of groups that keep equally many channels."""


@dataclass(frozen=True)
class ClassConstraints(RunFact):
    """Constraints that the code of a class puts on the widths of groups.

    Attributes:
        firsts: for each group the lowest number of those that have to keep equally many channels.
        whole: ids of the groups that have to stay whole.
    """

    firsts: tuple[int, ...]
    whole: frozenset[str]


def class_constraints(
    model: nn.Module,
    program: ExportedProgram,
    analysis: Analysis,
    progress: Callable[[str], Any] | None = None,
) -> ClassConstraints:
    """Find the constraints under which a smaller model can be of the same class.

    Args:
        model: the dense module.
        program: traced from it.
        analysis: of the program.
        progress: told how far it is.

    Returns:
        The groups that must have equal widths, and those that must stay whole.

    Raises:
        OptionError: if the module's code can't be compared with the program even before a cut.
    """
    firsts = equal_splits(analysis)
    units = [
        tuple(i for i, first in enumerate(firsts) if first == number)
        for number in dict.fromkeys(firsts)
    ]
    units = [unit for unit in units if analysis.groups[unit[0]].width > 1]
    trials = _Trials(ClassComparison(model, analysis, program), units, progress or (lambda _: None))
    trials.begin()
    free = trials.succeeding(units)
    free += trials.joined([unit for unit in units if unit not in free])
    if not trials.succeeds(free):  # each by itself, but not all together
        free, single = [], free
        for unit in single:
            free += [unit] if trials.succeeds([*free, unit]) else []
    lowest = list(firsts)
    for unit in free:
        for number in unit:
            lowest[number] = min(unit)
    whole = {number for unit in units for number in unit} - {
        number for unit in free for number in unit
    }
    return ClassConstraints(
        tuple(lowest), frozenset(analysis.groups[number].id for number in whole)
    )


class _Trials:
    """Trial cuts of one module, with a memory of their outcomes."""

    def __init__(
        self, comparison: ClassComparison, units: Sequence[Unit], tell: Callable[[str], Any]
    ) -> None:
        self._comparison, self._analysis, self._tell = comparison, comparison.analysis, tell
        self._rounds = [_counts(comparison.analysis, units, number) for number in range(ROUNDS)]
        self._values: Tensors = perturbed_tensors(
            comparison.analysis, comparison.analysis.tensors, seed=1
        )
        self._done: dict[frozenset[Unit], bool] = {}

    def begin(self) -> None:
        """Run the module with nothing cut.

        Raises:
            OptionError: if even that differs from the graph.
        """
        try:
            self._run([], {})
        except (*FORWARD_ERRORS, VerifyError) as problem:
            raise OptionError(
                f"the model's class can't be kept: {first_line(problem)}, before anything is cut",
                where=user_line(problem),
                hint="if the class needn't come back, a GraphModule does",
                options=("keep_class",),
            ) from problem

    def succeeding(self, units: Sequence[Unit]) -> list[Unit]:
        """Find the units with which a trial succeeds."""
        if self.succeeds(units):
            return list(units)
        if len(units) == 1:
            return []
        middle = len(units) // 2
        return self.succeeding(units[:middle]) + self.succeeding(units[middle:])

    def joined(self, units: Sequence[Unit]) -> list[Unit]:
        """Join neighbours among failed units where a trial succeeds once they keep equally many channels."""
        successes: list[Unit] = []
        left = list(units)
        while len(left) > 1:
            first, second, *rest = left
            if self._width(first) == self._width(second) and self.succeeds([first + second]):
                successes.append(first + second)
                left = rest
            else:
                left = [second, *rest]
        return successes

    def _width(self, unit: Unit) -> int:
        return self._analysis.groups[unit[0]].width

    def succeeds(self, units: Sequence[Unit]) -> bool:
        """Whether the class follows a cut of these groups."""
        wanted = frozenset(units)
        if wanted not in self._done:
            self._tell(f"class trial {len(self._done) + 1}")
            self._done[wanted] = all(self._try(units, counts) for counts in self._rounds)
        return self._done[wanted]

    def _try(self, units: Sequence[Unit], counts: Mapping[int, int]) -> bool:
        try:
            return self._run(units, counts)
        except (*FORWARD_ERRORS, VerifyError):
            return False

    def _run(self, units: Sequence[Unit], counts: Mapping[int, int]) -> bool:
        analysis = self._analysis
        keep: dict[str, Any] = {}
        for unit in units:
            for number in unit:
                group = analysis.groups[number]
                order = np.random.default_rng(number).permutation(group.width)
                keep[group.id] = np.sort(order[: counts[unit[0]]])
        cut = Cut.keeping(analysis, keep)
        if stored_weights(self._comparison.model, cut) is None:
            return False
        values = {**self._values, **cut.sliced(self._values), **cut.baked_values(self._values)}
        self._comparison.match_of(cut, cut.module, values, 0)
        return True


def _counts(analysis: Analysis, units: Sequence[Unit], number: int) -> dict[int, int]:
    """Choose how many channels each unit, by its first group, keeps in a round: three to eight tenths.

    Neighbours of one width keep unlike numbers, so that none fits by chance what must equal another. One alone is kept
    of two only: a single head, say, fits where several don't.
    """
    counts: dict[int, int] = {}
    earlier: Counter[int] = Counter()
    for unit in units:
        width = analysis.groups[unit[0]].width
        least = min(max(round(0.3 * width), 2), width - 1)
        choices = range(least, max(min(round(0.8 * width), width - 1), least) + 1)
        counts[unit[0]] = choices[
            (earlier[width] * max(len(choices) // 3, 1) + number) % len(choices)
        ]
        earlier[width] += 1
    return counts
