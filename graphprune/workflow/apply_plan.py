"""Apply a plan to a model, without scores or data: the smaller model beside the dense one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.ir.check_given import checked_model, positional
from graphprune.ir.run_on_device import on_cpu, put_model
from graphprune.ir.trace import trace
from graphprune.ir.unwrap import unwrap
from graphprune.passes import Redundant
from graphprune.pipeline import State
from graphprune.plan.plan import Plan
from graphprune.rebuild.model_pair import ModelPair
from graphprune.rebuild.rebuild import rebuild
from graphprune.verify.oracle import verify

from .free_channels import free_channels

__all__ = ["apply_plan"]


def apply_plan(
    plan: Plan,
    model: torch.nn.Module,
    args: Sequence[Any] | torch.Tensor,
    kwargs: Mapping[str, Any] | None = None,
) -> ModelPair:
    """Cut a model as a plan says, verify it, and rebuild its class. Arguments: those of ``graphprune.apply``.

    Raises:
        MismatchError: if the model is of another architecture, or channels that the plan removes
            with no loss aren't redundant in it.
        VerifyError: if the smaller model doesn't compute what it should.
    """
    home, dense, inputs, kwargs = on_cpu(unwrap(checked_model(model)), positional(args), kwargs)
    state = State(trace(dense, inputs, kwargs))
    if plan.redundant:
        state = free_channels(state, plan.redundant, allow_inexact=plan.allow_inexact)
    cut = Cut.from_plan(plan, analyse(state.program, allow_inexact=plan.allow_inexact))
    rebuilt = rebuild(dense, cut, cut.program, verify(cut).runs)
    found = state.get(Redundant)
    reweighted = found is not None and found.reweighted
    small = put_model(rebuilt.model, home)
    return ModelPair(model, dense, small, rebuilt.own_class, cut, rebuilt.follow, reweighted)
