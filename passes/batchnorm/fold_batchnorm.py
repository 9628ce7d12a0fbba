"""The pass that folds BatchNorm, with a check of the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import fx
from torch.export import ExportedProgram

from graphprune.ops.norm import BATCH_NORM
from graphprune.passes.decision import Decision
from graphprune.pipeline import RunFact, State, TransformPass
from graphprune.verify.oracle import TOLERANCE, Verdict, verify_unchanged

from .fold import fold_batchnorm

__all__ = ["FoldBatchNorm", "Folded", "count_batchnorms"]


@dataclass(frozen=True)
class Folded(RunFact):
    """Number of BatchNorm calls before and after folding, and the largest relative error in float64."""

    before: int
    after: int
    max_error: float


@dataclass(frozen=True)
class FoldBatchNorm(TransformPass):
    """Fold BatchNorm into the layer before or after it, wherever that is exact.

    Given: ``conv -> batch_norm``. Result: ``conv`` with other weights. Where no BatchNorm folds, the
    program stays as it is. For deployment: a network to be trained further should keep its BatchNorm.
    """

    name: ClassVar[str] = "fold-batchnorm"
    gives = (Folded,)
    keeps = (Decision, Verdict)

    def run(self, state: State) -> tuple[ExportedProgram, tuple[Folded]]:
        """Fold BatchNorm, and compare the outputs with those of the program as it was.

        Raises:
            VerifyError: if the outputs of the folded program differ.
        """
        before = state.program
        after = fold_batchnorm(before)
        worst = 0.0
        if after is not before:
            worst = verify_unchanged(before, after, tolerance=_tolerance(before)).max_error
        return after, (Folded(count_batchnorms(before), count_batchnorms(after), worst),)


def _tolerance(program: ExportedProgram) -> float:
    """Return the tolerance: folding is exact, but weights are rounded to their dtype; 100 times its epsilon."""
    stored = [*program.state_dict.values(), *program.constants.values()]  # a weight may be a buffer
    floats = [t for t in stored if isinstance(t, torch.Tensor) and t.is_floating_point()]
    steps = [torch.finfo(t.dtype).eps for t in floats]
    return 100 * max(steps, default=TOLERANCE)


def count_batchnorms(program: ExportedProgram) -> int:
    """Count the BatchNorm calls in a program."""
    graphs = [m.graph for m in program.graph_module.modules() if isinstance(m, fx.GraphModule)]
    return sum(len(g.find_nodes(op="call_function", target=BATCH_NORM)) for g in graphs)
