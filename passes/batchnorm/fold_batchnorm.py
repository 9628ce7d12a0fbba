"""BatchNorm folding as a pass, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.export import ExportedProgram

from graphprune.ir.program import unlift
from graphprune.ops.norm import BATCH_NORM
from graphprune.passes.decision import Decision
from graphprune.pipeline import RunFact, State, TransformPass
from graphprune.verify.oracle import TOLERANCE, Verdict, verify_unchanged

from .fold import fold_batchnorm

__all__ = ["FoldBatchNorm", "Folded", "count_batchnorms"]


@dataclass(frozen=True)
class Folded(RunFact):
    """BatchNorm calls before and after, and the largest relative error in float64."""

    before: int
    after: int
    max_error: float


@dataclass(frozen=True)
class FoldBatchNorm(TransformPass):
    """Fold BatchNorm into the layer before or after it, wherever that is exact.

    Given: ``conv -> batch_norm``. Result: ``conv`` with other weights. For deployment: what is
    to be trained further should keep its BatchNorm.
    """

    name: ClassVar[str] = "fold-batchnorm"
    gives = (Folded,)
    keeps = (Decision, Verdict)

    def run(self, state: State) -> tuple[ExportedProgram, tuple[Folded]]:
        """Fold, and compare with the program as it was.

        Raises:
            VerifyError: if the folded program computes something else.
        """
        before = state.program
        after = fold_batchnorm(before)
        verdict = verify_unchanged(before, after, tolerance=_tolerance(before))
        return after, (
            Folded(count_batchnorms(before), count_batchnorms(after), verdict.max_error),
        )


def _tolerance(program: ExportedProgram) -> float:
    """Folding is exact, but new weights are rounded to their dtype: a hundred times its step."""
    steps = [torch.finfo(p.dtype).eps for p in program.parameters() if p.is_floating_point()]
    return 100 * max(steps, default=TOLERANCE)


def count_batchnorms(program: ExportedProgram) -> int:
    """BatchNorm calls in a program."""
    return len(unlift(program).graph.find_nodes(op="call_function", target=BATCH_NORM))
