"""The passes, in the order a compression runs them.

========================  ====================================================================
``Analyse``               groups, costs, what is frozen
``Observe``               what the dense network does on calibration data
``Score``                 importance of each channel, by a criterion
``Allocate``              widths within the budget: the ``Decision`` with its plan
``Choose``                the same for several plans, by the repaired network's error
``Prune``                 the smaller program, proven against the masked original
``Merge``                 in place of ``Prune``: removed channels merged into kept ones, data-free
``Recover``               other weights, so that it computes what the dense one does
``Distil``                weights trained for a short while towards the dense program's outputs
``FoldBatchNorm``         for deployment: no BatchNorm left that could fold
========================  ====================================================================
"""

from __future__ import annotations

from graphprune.passes.allocate.allocate import Allocate
from graphprune.passes.batchnorm.fold_batchnorm import FoldBatchNorm, Folded, count_batchnorms
from graphprune.passes.decision import Decision, make_plan
from graphprune.passes.prune.merge import Merge, Merged
from graphprune.passes.prune.prune import Prune
from graphprune.passes.recover.distil import Distil, Distilled
from graphprune.passes.recover.effort import Effort
from graphprune.passes.recover.recover import Recover, Recovered

from .analyse import Analyse, Observe, Score
from .choose import Choose
from .score import CRITERIA, Criterion, Scores

__all__ = [
    "ALL_PASSES",
    "CRITERIA",
    "Allocate",
    "Analyse",
    "Choose",
    "Criterion",
    "Decision",
    "Distil",
    "Distilled",
    "Effort",
    "FoldBatchNorm",
    "Folded",
    "Merge",
    "Merged",
    "Observe",
    "Prune",
    "Recover",
    "Recovered",
    "Score",
    "Scores",
    "count_batchnorms",
    "make_plan",
]

ALL_PASSES = {
    each.name: each
    for each in (
        Analyse,
        Observe,
        Score,
        Allocate,
        Choose,
        Prune,
        Merge,
        Recover,
        Distil,
        FoldBatchNorm,
    )
}
"""Passes by name."""
