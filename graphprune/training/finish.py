"""Cut a network that was pruned while it was trained, and carry its optimiser over."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields, replace

import torch

from graphprune.passes.allocate.given_plan import GivenPlan
from graphprune.plan.plan import Plan
from graphprune.workflow.job import Job
from graphprune.workflow.result import Result

from .progress import SparsifyReport

__all__ = ["Sparsified", "finish"]

logger = logging.getLogger(__name__)

_LEFT = 1e-3
"""Share of the norm in removed channels above which the report says that there is some."""


@dataclass(frozen=True)
class Sparsified(Result):
    """A result whose channels were chosen while the model was trained.

    Attributes:
        optimizer: the optimiser on the parameters of ``model``, as ``carry`` gives it.
    """

    optimizer: torch.optim.Optimizer | None = None


def finish(
    job: Job, plan: Plan, progress: SparsifyReport, optimizer: torch.optim.Optimizer | None
) -> Sparsified:
    """Cut by a plan, with all checks, and carry the optimiser over.

    Args:
        job: the model as it is now.
        plan: the channels to keep.
        progress: what is known of the run, for notes.
        optimizer: on the model's parameters.
    """
    result = job.result(GivenPlan(plan=plan))
    notes = [f"channels were chosen while training, by {progress.method}"]
    if progress.norm > _LEFT:
        notes.append(
            f"the channels that were cut held {progress.norm:.1%} of the norm, "
            f"at step {progress.step} of {progress.steps}"
        )
        logger.warning(notes[-1])
    kept = {f.name: getattr(result, f.name) for f in fields(result)}
    kept["report"] = replace(result.report, notes=(*result.report.notes, *notes))
    carried = None if optimizer is None else result.carry(optimizer)
    return Sparsified(**kept, optimizer=carried)
