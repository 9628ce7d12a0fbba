"""Channels that were found to be redundant, and what they mean for a choice of widths."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from torch.export import ExportedProgram

from graphprune.analysis.analyse import Analysis
from graphprune.ops.float64 import Tensors
from graphprune.passes.decision import Decision
from graphprune.passes.score import Scores
from graphprune.passes.solver import EqualWidths
from graphprune.pipeline import RunFact
from graphprune.verify.oracle import TOLERANCE

__all__ = ["REASONS", "Redundant", "capped", "first_to_go", "marked", "only_redundant"]

REASONS = ("unread", "zero", "constant", "duplicate", "combination")
"""Why a channel goes with no loss, in the order in which they are counted."""


@dataclass(frozen=True)
class Redundant(RunFact):
    """Channels that nothing depends on any more, and the proof.

    Attributes:
        channels: group id -> the channels, ascending; groups without any are absent.
        reasons: group id -> how many of them for each of ``REASONS``.
        dense: the program before.
        tensors: the tensors that were changed by name, in float64, before they were rounded.
        max_error: largest relative error against ``dense`` in float64, with these tensors.
        stored_error: the same with the tensors as the program stores them, in their own type.
        tolerance: the bound on ``max_error``.
        batches: leading sizes of the first input that were run.
    """

    channels: Mapping[str, tuple[int, ...]]
    reasons: Mapping[str, Mapping[str, int]]
    dense: ExportedProgram = field(repr=False)
    tensors: Tensors = field(default_factory=dict, repr=False)
    max_error: float = 0.0
    stored_error: float = 0.0
    tolerance: float = TOLERANCE
    batches: tuple[int, ...] = ()

    @property
    def reweighted(self) -> bool:
        """Whether other weights took over what the channels did: whether there are any but unread and zero ones."""
        return any(
            n
            for found in self.reasons.values()
            for r, n in found.items()
            if r not in ("unread", "zero")
        )

    @property
    def count(self) -> int:
        """Number of the channels in all groups."""
        return sum(map(len, self.channels.values()))


def first_to_go(scores: Scores, found: Redundant) -> Scores:
    """Rank redundant channels below all others: removing them costs nothing."""
    values = dict(scores.values)
    for name, channels in found.channels.items():
        ranked = np.maximum(values[name], np.finfo(np.float64).tiny)
        ranked[list(channels)] = 0.0
        values[name] = ranked

    def free(curves: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        return {
            name: np.where(
                np.arange(len(c)) >= len(c) - 1 - len(found.channels.get(name, ())), 0, c
            )
            for name, c in curves.items()
        }

    variants = {name: free(curves) for name, curves in scores.variants.items()}
    return replace(scores, values=values, curves=free(scores.curves), variants=variants)


def capped(
    widths: Sequence[NDArray[np.int64]],
    equal: EqualWidths,
    analysis: Analysis,
    found: Redundant | None,
) -> list[NDArray[np.int64]]:
    """Leave out candidate widths that would keep redundant channels for nothing.

    Args:
        widths: of every group, ascending; the same for groups of a class.
        equal: which groups must have equal widths.
        analysis: of the program.
        found: the redundant channels, if they were looked for.
    """
    if found is None:
        return list(widths)
    least = [g.width - len(found.channels.get(g.id, ())) for g in analysis.groups]
    tops = [
        max(
            math.ceil(n / step)
            for n, step, c in zip(least, equal.steps, equal.classes, strict=True)
            if c == number
        )
        for number in range(len(equal.firsts))
    ]
    return [
        w[: int(np.searchsorted(w, tops[c] * step)) + 1]
        for w, step, c in zip(widths, equal.steps, equal.classes, strict=True)
    ]


def marked(decision: Decision, found: Redundant) -> Decision:
    """Note in a decision's plan which of the removed channels are redundant."""
    kept = decision.plan.keep
    removed = {
        name: tuple(j for j in channels if j not in set(kept[name]))
        for name, channels in found.channels.items()
    }
    redundant = {name: channels for name, channels in removed.items() if channels}
    return replace(decision, plan=replace(decision.plan, redundant=redundant))


def only_redundant(decision: Decision, found: Redundant) -> bool:
    """Whether a decision removes redundant channels only, and any at all."""
    removed = {
        g.id: set(range(g.width)) - set(g.keep)
        for g in decision.plan.groups
        if len(g.keep) < g.width
    }
    return bool(removed) and all(
        channels <= set(found.channels.get(name, ())) for name, channels in removed.items()
    )
