"""Whole branches in an allocation: width 0 of the group that leads one stands for them all.

Only that group has the level 0. At it all costs of the branch vanish (``analysis/branch_costs.py``), so that
the other groups of the branch stay dense in the solution, at no cost and no distortion; they are emptied
afterwards. Its distortion is that of the branch as a whole.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from graphprune.analysis.analyse import Analysis
from graphprune.plan.plan import Plan

__all__ = ["distortions", "gone_whole", "whole_branches", "with_branches"]


def with_branches(
    analysis: Analysis, curves: Mapping[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    """Set the distortion at width 0 of groups that lead a branch to at least that of its other groups.

    Args:
        analysis: of the dense program.
        curves: group id -> distortion ``[width + 1]`` by channels kept.
    """
    found = dict(curves)
    for branch in analysis.removable.branches:
        name = analysis.groups[branch.lead].id
        least = [curves[analysis.groups[number].id][1] for number in branch.groups]
        found[name] = curves[name].copy()
        found[name][0] = max(found[name][0], *least)
    return found


def whole_branches(analysis: Analysis, widths: Sequence[int]) -> frozenset[int]:
    """List the numbers of all groups that go whole where some have width 0.

    These are those groups, and whichever are of no use without them.
    """
    gone = [number for number, width in enumerate(widths) if not width]
    return analysis.without(gone, idle=True).gone if gone else frozenset()


def distortions(
    analysis: Analysis, curves: Mapping[str, NDArray[np.float64]], plan: Plan
) -> list[float]:
    """List what each group of a plan adds to the distortion.

    Of a branch that goes whole only the group counts that leads it.
    """
    gone = plan.removed
    leads = (
        {analysis.groups[b.lead].id for b in analysis.removable.branches} if gone else set[str]()
    )
    return [
        0.0 if g.id in gone and g.id not in leads else float(curves[g.id][len(g.keep)])
        for g in plan.groups
    ]


def gone_whole(analysis: Analysis, gone: Collection[int]) -> tuple[str, ...]:
    """Say in a note for the user which groups are gone whole, if any are."""
    names = [analysis.groups[number].id for number in sorted(gone)]
    return (f"removed whole, with what only they fed: {', '.join(names)}",) if names else ()
