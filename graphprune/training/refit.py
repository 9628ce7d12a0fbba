"""Refit the layers of a network that is being trained, once a plan has taken channels from it."""

from __future__ import annotations

import torch
from torch import Tensor

from graphprune.cut.cut import Cut
from graphprune.passes.observe import Observations
from graphprune.passes.recover import repair
from graphprune.passes.recover.batchnorm import restandardise
from graphprune.plan.plan import Plan

__all__ = ["refitted"]


def refitted(observations: Observations, plan: Plan) -> dict[str, Tensor]:
    """Refit what a plan keeps, so that it computes what the network did with all of its channels.

    This is the repair of ``gp.compress``, with the network of the moment for the dense one. BatchNorms get the statistics of
    what they see then, so that training goes on from the network that was refitted.

    Args:
        observations: measurements of the network before anything is taken from it.
        plan: what stays.

    Returns:
        Tensors in dense shapes by name, with new values where channels stay. Empty if a refit makes the outputs no better on
        held-out data; if it would change parameters that aren't trained; or if the cut stores results of calls, for which the
        network that is trained has no place.
    """
    analysis = observations.analysis
    cut = Cut.from_plan(plan, analysis)
    if cut.baked or cut.constants:
        return {}
    found = repair(observations, cut)
    if found.error >= repair(observations, cut, refitting=False).error:
        return {}
    tensors = repair(observations, cut, like=found).tensors
    new = {
        name: value
        for name, value in cut.spread(restandardise(observations, cut, tensors)).items()
        if not torch.equal(value, analysis.tensors[name])
    }
    return {} if any(map(_is_fixed, map(analysis.tensors.__getitem__, new))) else new


def _is_fixed(tensor: Tensor) -> bool:
    return isinstance(tensor, torch.nn.Parameter) and not tensor.requires_grad
