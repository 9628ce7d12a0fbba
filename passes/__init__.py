"""The passes, in the order a compression runs them.

========================  ====================================================================
``Analyse``               groups, costs, what is frozen
``Score``                 importance of each channel, by a criterion
``Allocate``              widths within the budget: the ``Decision`` with its plan
``Prune``                 the smaller program, proven against the masked original
``FoldBatchNorm``         for deployment: no BatchNorm left that could fold
========================  ====================================================================
"""

from __future__ import annotations

from .allocate import Allocate, Decision, make_plan
from .analyse import Analyse, Score
from .fold import FoldBatchNorm, Folded, count_batchnorms
from .prune import Prune
from .score import CRITERIA, Criterion, Scores

__all__ = [
    "ALL_PASSES",
    "CRITERIA",
    "Allocate",
    "Analyse",
    "Criterion",
    "Decision",
    "FoldBatchNorm",
    "Folded",
    "Prune",
    "Score",
    "Scores",
    "count_batchnorms",
    "make_plan",
]

ALL_PASSES = {
    each.name: each for each in (Analyse, Score, Allocate, Prune, FoldBatchNorm)
}
"""Passes by name."""
