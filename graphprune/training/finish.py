"""Cut a network that was pruned while it was trained, and carry its optimiser over."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields, replace

import torch
from torch import nn

from graphprune.cut.cut import Cut
from graphprune.ir.unwrap import unwrap
from graphprune.passes.allocate.given_plan import GivenPlan
from graphprune.plan.plan import Plan
from graphprune.rebuild.model_pair import ModelPair
from graphprune.workflow.carry import carry
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
    job: Job,
    plan: Plan,
    progress: SparsifyReport,
    optimizer: torch.optim.Optimizer | None,
    *,
    trained: nn.Module,
    last: Cut | None = None,
) -> Sparsified:
    """Cut by a plan, with all checks, and carry the optimiser over.

    Args:
        job: the model as it was given, with the weights of now.
        plan: the channels of it to keep.
        progress: what is known of the run, for notes.
        optimizer: on the parameters of what was trained.
        trained: the model as it is now.
        last: what of that is cut, if its layers have shrunk since.
    """
    result = job.result(GivenPlan(plan=plan))
    notes = [f"channels were chosen while training, by {progress.method}"]
    if progress.note:
        notes.append(f"layers didn't shrink while training: {progress.note}")
    if progress.norm > _LEFT:
        notes.append(
            f"the channels that were cut held {progress.norm:.1%} of the norm, "
            f"at step {progress.step} of {progress.steps}"
        )
        logger.warning(notes[-1])
    kept = {f.name: getattr(result, f.name) for f in fields(result)}
    kept["report"] = replace(result.report, notes=(*result.report.notes, *notes))
    pair = result.pair
    if last is not None:
        pair = ModelPair(trained, unwrap(trained), result.model, pair.own_class, last)
    carried = None if optimizer is None else carry(optimizer, pair)
    return Sparsified(**kept, optimizer=carried)
