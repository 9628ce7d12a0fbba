"""Which groups the code of a model's class can follow, found by trying: code isn't read.

Half of the channels of some groups are removed, of all at first; where the class then doesn't compute what
the cut graph does, each half of these groups is tried by itself, until single ones are left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import nn
from torch.export import ExportedProgram

from graphprune.analysis import Analysis
from graphprune.baking import baked_calls
from graphprune.cut import cut_module, slice_tensors
from graphprune.double import Tensors
from graphprune.eager import Follower
from graphprune.errors import VerifyError
from graphprune.pieces import equal_pieces
from graphprune.tracing import FORWARD_ERRORS
from graphprune.verify import noisy

__all__ = ["not_followed"]

Unit = tuple[int, ...]
"""Numbers of groups that keep equally many channels."""


def not_followed(model: nn.Module, program: ExportedProgram, analysis: Analysis,
                 progress: Callable[[str], Any] | None = None) -> frozenset[str]:
    """Ids of the groups that have to stay whole for a smaller model to be of its class.

    Args:
        model: the dense module.
        program: traced from it.
        analysis: of the program.
        progress: told how far it is.
    """
    firsts = equal_pieces(analysis)
    units = [tuple(i for i, first in enumerate(firsts) if first == number) for number in dict.fromkeys(firsts)]
    units = [unit for unit in units if analysis.groups[unit[0]].width > 1]
    trials = _Trials(Follower(model, analysis, program), progress or (lambda _: None))
    followed = trials.followed(units)
    if not trials.succeeds(followed):  # each by itself, but not all together
        followed, single = [], followed
        for unit in single:
            followed += [unit] if trials.succeeds([*followed, unit]) else []
    stay = {number for unit in units if unit not in followed for number in unit}
    return frozenset(analysis.groups[number].id for number in stay)


class _Trials:
    """Trials with one module, and what came of them."""

    def __init__(self, follower: Follower, tell: Callable[[str], Any]) -> None:
        self._follower, self._analysis, self._tell = follower, follower.analysis, tell
        self._values: Tensors = noisy(follower.analysis, follower.analysis.tensors, seed=1)
        self._done: dict[frozenset[Unit], bool] = {}

    def followed(self, units: Sequence[Unit]) -> list[Unit]:
        """Those of the units with which a trial succeeds."""
        if self.succeeds(units):
            return list(units)
        if len(units) == 1:
            return []
        middle = len(units) // 2
        return self.followed(units[:middle]) + self.followed(units[middle:])

    def succeeds(self, units: Sequence[Unit]) -> bool:
        """Whether the class follows a cut of these groups."""
        wanted = frozenset(units)
        if wanted not in self._done:
            self._tell(f"trial {len(self._done) + 1} of the class")
            self._done[wanted] = self._try(units)
        return self._done[wanted]

    def _try(self, units: Sequence[Unit]) -> bool:
        generator, analysis = np.random.default_rng(0), self._analysis
        groups = [analysis.groups[number] for unit in units for number in unit]
        kept = analysis.kept({
            group.id: np.sort(generator.permutation(group.width)[: -(-group.width // 2)]) for group in groups})
        if baked_calls(analysis, kept):
            return False
        values = {**self._values, **slice_tensors(self._values, analysis.axes, kept)}
        try:
            self._follower.error_of(kept, cut_module(analysis, kept), values, 0)
        except (*FORWARD_ERRORS, VerifyError):
            return False
        return True
