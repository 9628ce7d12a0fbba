"""The passes of a compression, in the order in which they run.

A pass reads facts and the program from the state, and adds facts or returns another program
(``graphprune.pipeline``).

========================  ====================================================================
``Lossless``              nothing reads redundant channels any more; the function stays the same
``Analyse``               groups of channels, costs, frozen channels
``Observe``               measurements of the dense network on calibration data
``Score``                 importance of each channel, by a criterion
``ProfileLatency``        times of the operators in onnxruntime, for latency budgets
``Allocate``              widths within the budget: the ``Decision`` with its plan
``GivenPlan``             the widths of a plan that was made before
``LosslessPlan``          all channels but the redundant ones
``Choose``                several plans, of which the repaired network with the least error is taken
``Prune``                 the smaller program, verified against the masked original
``Merge``                 in place of ``Prune``: removed channels merged into kept ones, data-free
``Recover``               layers refitted by least squares, or BatchNorm re-estimated
``Distil``                knowledge distillation: weights trained towards the dense outputs
``Finetune``              the same with labels: distillation and cross-entropy
``Settle``                after these: class scores scaled, or all data refitted where training didn't help
``FoldBatchNorm``         BatchNorm folded into neighbouring layers, for deployment
========================  ====================================================================
"""

from __future__ import annotations

from .allocate.allocate import Allocate
from .allocate.given_plan import GivenPlan
from .allocate.lossless_plan import LosslessPlan
from .analyse import Analyse
from .batchnorm.fold_batchnorm import FoldBatchNorm, Folded, count_batchnorms
from .choose import Choose
from .decision import Decision, make_plan
from .latency import ProfileLatency
from .lossless.lossless import Lossless
from .lossless.redundant import Redundant
from .observe.observe import Observe
from .prune.merge import Merge, Merged
from .prune.prune import Prune
from .recover.augment import check_names
from .recover.distil import Distil, Distilled
from .recover.effort import Effort
from .recover.finetune import Finetune, Finetuned
from .recover.recover import Recover, Recovered
from .recover.settle import Settle
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
    "Finetune",
    "Finetuned",
    "FoldBatchNorm",
    "Folded",
    "Lossless",
    "LosslessPlan",
    "Merge",
    "Merged",
    "Observe",
    "Prune",
    "Recover",
    "Recovered",
    "Redundant",
    "Score",
    "Scores",
    "Settle",
    "Teacher",
    "check_names",
    "count_batchnorms",
    "make_plan",
]

ALL_PASSES = {
    each.name: each
    for each in (
        Analyse,
        Lossless,
        Observe,
        Score,
        ProfileLatency,
        Allocate,
        GivenPlan,
        LosslessPlan,
        Choose,
        Prune,
        Merge,
        Recover,
        Distil,
        Finetune,
        Settle,
        FoldBatchNorm,
    )
}
"""All passes by their ``name``, in the order in which a compression runs them."""
