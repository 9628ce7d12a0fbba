"""Re-estimate BatchNorm statistics on the cut network's own activations.

Source: He, Zhang, Sun 2017 leave this to finetuning; on its own it is the cheapest repair there
is, see Li et al. 2020 (EagleEye, arXiv:2007.02491, section 3.3).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, fx

from graphprune.cut.cut import Cut
from graphprune.ir.devices import to_solver, wide
from graphprune.ir.nodes import bind
from graphprune.ops.norm import BATCH_NORM
from graphprune.passes.observe import ROOM, Observations, StagedRun, StoredTensors
from graphprune.passes.observe.distributed import sum_over_processes

__all__ = ["reestimate", "restandardise"]


def reestimate(
    observations: Observations, cut: Cut, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Re-estimate the running statistics of all BatchNorms, front to back.

    Args:
        observations: hold the calibration data, of which the fitted batches are used.
        cut: which channels are removed.
        tensors: tensors of the cut network by name.

    Returns:
        All tensors of the cut network by name.
    """
    run = observations.staged(cut.module, observations.fitted, tensors, ROOM)
    for node in cut.module.graph.find_nodes(op="call_function", target=BATCH_NORM):
        call = bind(node)
        if call["training"] or call["running_mean"] is None:
            continue
        run.advance(node)
        mean, variance = _statistics(run, call["input"])
        for name, value in (("running_mean", mean), ("running_var", variance)):
            stored = str(call[name].target)
            run.tensors[stored] = value.to(run.tensors[stored])
    return run.stored()


def _statistics(run: StagedRun, value: fx.Node) -> tuple[Tensor, Tensor]:
    """Return mean and unbiased variance of each channel, over batches and processes."""
    parts: list[Tensor] = []
    for each in run.values(value):
        batch = to_solver(each)
        others = [dim for dim in range(batch.ndim) if dim != 1]
        variance, mean = map(wide, torch.var_mean(batch, others, correction=0))
        count = torch.full_like(mean, batch.numel() / batch.shape[1])
        parts.append(torch.stack([mean * count, (variance + mean.square()) * count, count]))
    summed, squares, count = sum_over_processes(torch.stack(parts).sum(0))
    mean = summed / count
    variance = (squares / count - mean.square()).clamp_min(0) * count / (count - 1).clamp_min(1)
    return mean, variance


def restandardise(
    observations: Observations, cut: Cut, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Give BatchNorms the statistics of what they see, and scales and shifts with which they compute what they did.

    A refit keeps the running statistics of the network before, and fits the weights to them. A training takes
    those of its batches in their place, so it would begin with another network than the refitted one. Left alone are
    BatchNorms without a scale and a shift, and those that share what they have with other calls.

    Args:
        observations: hold the calibration data, of which the fitted batches are used.
        cut: which channels are removed.
        tensors: tensors of the cut network by name.

    Returns:
        All tensors of the cut network by name.
    """
    stored = StoredTensors(cut.module)
    run = observations.staged(cut.module, observations.fitted, tensors, ROOM)
    for node in cut.module.graph.find_nodes(op="call_function", target=BATCH_NORM):
        call = bind(node)
        places = [call[name] for name in ("weight", "bias", "running_mean", "running_var")]
        if call["training"] or not all(stored.is_whole(place) for place in places):
            continue
        run.advance(node)
        mean, variance = _statistics(run, call["input"])
        names = [str(place.target) for place in places]
        weight, bias, old_mean, old_variance = (wide(run.tensors[name]) for name in names)
        eps = float(call["eps"])
        scale = weight / (old_variance + eps).sqrt()
        new = scale * (variance + eps).sqrt(), bias + scale * (mean - old_mean), mean, variance
        for name, value in zip(names, new, strict=True):
            run.tensors[name] = value.to(run.tensors[name])
    return run.stored()
