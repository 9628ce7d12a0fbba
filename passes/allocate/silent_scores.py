"""Say where a plan rests on scores that say nothing."""

from __future__ import annotations

import numpy as np

from graphprune.passes.lossless.redundant import Redundant
from graphprune.passes.score import Scores
from graphprune.passes.solver import Allocation
from graphprune.plan.plan import Plan
from graphprune.report.text import few

__all__ = ["silent_scores"]


def silent_scores(
    scores: Scores, plan: Plan, allocation: Allocation, found: Redundant | None
) -> tuple[str, ...]:
    """Note what the criterion had nothing to say of, though channels are removed there that aren't redundant.

    Args:
        scores: of every channel.
        plan: what is kept.
        allocation: with the predicted distortion.
        found: channels that are redundant, if they were looked for.
    """
    free = {name: len(channels) for name, channels in found.channels.items()} if found else {}
    cut = [g.id for g in plan.groups if len(g.keep) < g.width - free.get(g.id, 0)]
    alike = [name for name in cut if np.ptp(scores.values[name]) == 0]
    notes: list[str] = []
    if alike:
        notes.append(f"all channels score alike, so which of them stay is arbitrary: {few(alike)}")
    if cut and allocation.distortion == 0:
        notes.append(
            "the cut has a distortion of 0: the removed channels are dead, or the criterion saw "
            "nothing of them"
        )
    return tuple(notes)
