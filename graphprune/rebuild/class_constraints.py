"""Find by trial which groups the code of a model's class can follow; the code isn't read.

Channels of some groups are removed, of all at first; where the class then doesn't compute what the cut graph does,
groups are tried by kind (``group_kinds.py``), each half by itself, until single kinds are left. Of these, some go if
they keep equally many channels, as the queries and the values of attention whose code knows one size of a head, or
equal shares, as the parts of an axis that the code splits by lengths which it computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.export import ExportedProgram

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.equal_splits import equal_splits, split_together
from graphprune.pipeline import RunFact

from .class_comparison import ClassComparison
from .class_trials import ClassTrials, shared_parts
from .group_kinds import Unit, unit_kinds

__all__ = ["ClassConstraints", "class_constraints"]

_Kind = list[Unit]
_Succeeds = Callable[[Sequence[Unit]], bool]


@dataclass(frozen=True)
class ClassConstraints(RunFact):
    """Constraints that the code of a class puts on the widths of groups.

    Attributes:
        firsts: for each group the lowest number of those that have to keep equal shares of their channels; of groups
            of one width these are equally many.
        whole: ids of the groups that have to stay whole.
        branches: numbers of the groups that lead a branch without which the code can run. Where branches go, a
            group may be gone though it has to be whole otherwise.
    """

    firsts: tuple[int, ...]
    whole: frozenset[str]
    branches: frozenset[int] = frozenset()

    @property
    def binding(self) -> bool:
        """Whether they rule out any widths."""
        return bool(self.whole) or self.firsts != tuple(range(len(self.firsts)))


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
    comparison = ClassComparison(model, analysis, program)
    trials = ClassTrials(comparison, units, progress or (lambda _: None))
    free = _following(trials, unit_kinds(analysis, units)) if units else []
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


def _following(trials: ClassTrials, kinds: Sequence[_Kind]) -> list[Unit]:
    """Find the units that can go, by the shapes alone first."""
    everything = _flat(kinds)
    if trials.succeeds(everything):
        return everything
    free = _free(trials.analysis, kinds, trials.fits) if trials.tells_shapes else list(kinds)
    if not trials.succeeds(_flat(free)):
        trials.begin()
        free = _free(trials.analysis, free, trials.succeeds)
    return _flat(free)


def _free(analysis: Analysis, kinds: Sequence[_Kind], succeeds: _Succeeds) -> list[_Kind]:
    """Find the kinds, or parts of them, with which trials succeed, and those that go if they are tied."""
    free = _succeeding(kinds, succeeds)
    going = {unit for kind in free for unit in kind}
    if parts := _succeeding(_split_together(analysis, kinds, going), succeeds):
        taken = {number for kind in parts for unit in kind for number in unit}
        free = [k for kind in free if (k := [u for u in kind if taken.isdisjoint(u)])] + parts
        going |= {unit for kind in kinds for unit in kind if not taken.isdisjoint(unit)}
    left = [k for kind in kinds if (k := [unit for unit in kind if unit not in going])]
    free += _joined(analysis, left, succeeds)
    if succeeds(_flat(free)):
        return free
    together: list[_Kind] = []  # each by itself, but not all together
    for kind in free:
        together += [kind] if succeeds(_flat([*together, kind])) else []
    return together


def _split_together(analysis: Analysis, kinds: Sequence[_Kind], going: set[Unit]) -> list[_Kind]:
    """Join units that are parts of one axis, where one of them failed; those of the same kinds are one kind."""
    kind_of = {number: i for i, kind in enumerate(kinds) for unit in kind for number in unit}
    unit_of = {number: unit for kind in kinds for unit in kind for number in unit}
    joined: dict[tuple[int, ...], _Kind] = {}
    for parts in split_together(analysis):
        units = {unit_of[number] for number in parts if number in unit_of}
        together = tuple(sorted(number for unit in units for number in unit))
        if len(units) > 1 and not units <= going and shared_parts(analysis, together) > 1:
            joined.setdefault(tuple(kind_of[n] for n in together), []).append(together)
    return list(joined.values())


def _succeeding(kinds: Sequence[_Kind], succeeds: _Succeeds) -> list[_Kind]:
    """Find the kinds with which a trial succeeds; of one that fails, the units."""
    if not kinds or succeeds(_flat(kinds)):
        return list(kinds)
    if len(kinds) > 1:
        middle = len(kinds) // 2
        return _succeeding(kinds[:middle], succeeds) + _succeeding(kinds[middle:], succeeds)
    (kind,) = kinds
    if len(kind) == 1 or not (succeeds(kind[:1]) or succeeds(kind[-1:])):
        return []  # what the first and the last can't, the others in the same code can't either
    middle = len(kind) // 2
    return _succeeding([kind[:middle]], succeeds) + _succeeding([kind[middle:]], succeeds)


def _joined(analysis: Analysis, kinds: Sequence[_Kind], succeeds: _Succeeds) -> list[_Kind]:
    """Join failed units where a trial succeeds once they keep equally many channels.

    Tried are all units of a kind, as where code reads one number for all layers, and the units of two kinds one by one.
    """
    successes: list[_Kind] = []
    left = list(kinds)
    while left:
        first, *rest = left
        for taken, kind in _ties(first, rest):
            if all(_even(analysis, unit) for unit in kind) and succeeds(kind):
                successes.append(kind)
                rest = [other for other in rest if other is not taken]
                break
        left = rest
    return successes


def _ties(kind: _Kind, others: Sequence[_Kind]) -> Iterator[tuple[_Kind, _Kind]]:
    """Yield ways to tie a kind: with another one, which is named, and within itself; each as a kind of larger units."""
    for other in others:
        if len(other) == len(kind):
            yield other, [a + b for a, b in zip(kind, other, strict=True)]
    if len(kind) > 1:
        yield kind, [tuple(number for unit in kind for number in unit)]
    for other in others:
        if len(other) == len(kind) > 1:
            yield other, [tuple(number for unit in (*kind, *other) for number in unit)]


def _even(analysis: Analysis, unit: Unit) -> bool:
    return len({analysis.groups[number].width for number in unit}) == 1


def _flat(kinds: Sequence[_Kind]) -> list[Unit]:
    return [unit for kind in kinds for unit in kind]
