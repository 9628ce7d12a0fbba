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

from .allocate.allocate import Allocate
from .analyse import Analyse
from .batchnorm.fold_batchnorm import FoldBatchNorm, Folded, count_batchnorms
from .choose import Choose
from .decision import Decision, make_plan
from .observe.observe import Observe
from .prune.merge import Merge, Merged
from .prune.prune import Prune
from .recover.augment import check_names
from .recover.distil import Distil, Distilled
from .recover.effort import Effort
from .recover.recover import Recover, Recovered
from .recover.teacher_student import Teacher
from .score import CRITERIA, Criterion, Scores
from .score.score import Score

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
    "Teacher",
    "check_names",
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
