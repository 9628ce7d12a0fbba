"""Re-estimate BatchNorm statistics on the cut network's own activations.

Source: He, Zhang, Sun 2017 leave this to finetuning; on its own it is the cheapest repair there
is, see Li et al. 2020 (EagleEye, arXiv:2007.02491, section 3.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from graphprune.cut.cut import Cut
from graphprune.ir.devices import to_solver, wide
from graphprune.ir.nodes import bind
from graphprune.ops.norm import BATCH_NORM
from graphprune.passes.observe import ROOM, Observations, StagedRun, StoredTensors
from graphprune.passes.observe.distributed import sum_over_processes

__all__ = ["reestimate", "restandardise"]

SEEN = 128
"""Samples on which BatchNorms are restandardised, at least: as many as a batch of the training that these statistics are for."""


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
        mean, variance = _statistics(run, call)
        for name, value in (("running_mean", mean), ("running_var", variance)):
            stored = str(call[name].target)
            run.tensors[stored] = value.to(run.tensors[stored])
    return run.stored()


def _statistics(run: StagedRun, call: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Return mean and unbiased variance of each channel that a BatchNorm sees, over batches and processes."""
    sums = torch.zeros(3, len(run.constant(call["running_mean"])), dtype=torch.float64)
    for each in run.values(call["input"]):
        batch = to_solver(each)
        others = [dim for dim in range(batch.ndim) if dim != 1]
        variance, mean = map(wide, torch.var_mean(batch, others, correction=0))
        count = batch.numel() / batch.shape[1]
        powers = torch.stack([mean, variance + mean.square(), torch.ones_like(mean)])
        sums = sums.to(powers) + count * powers
    summed, squares, count = sum_over_processes(sums)
    mean = summed / count
    variance = (squares / count - mean.square()).clamp_min(0) * count / (count - 1).clamp_min(1)
    return mean, variance


def restandardise(
    observations: Observations, cut: Cut, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Give BatchNorms the statistics of what they see, and scales and shifts with which they compute what they did.

    A refit keeps the running statistics of the network before, and fits the weights to them. A training takes
    those of its batches in their place, so it would begin with another network than the refitted one. Left alone are
    BatchNorms without a scale and a shift, those that share what they have with other calls, and those whose type
    can't hold the new statistics, such as variances above 65,504 in float16.

    Args:
        observations: hold the calibration data, of which some of the fitted batches are used.
        cut: which channels are removed.
        tensors: tensors of the cut network by name.

    Returns:
        All tensors of the cut network by name.
    """
    stored = StoredTensors(cut.module)
    some = observations.some_fitted(SEEN)
    numbers = observations.fitted if some is None else some
    run = observations.staged(cut.module, numbers, tensors, ROOM)
    for node in cut.module.graph.find_nodes(op="call_function", target=BATCH_NORM):
        call = bind(node)
        places = [call[name] for name in ("weight", "bias", "running_mean", "running_var")]
        if call["training"] or not all(stored.is_whole(place) for place in places):
            continue
        run.advance(node)
        mean, variance = _statistics(run, call)
        names = [str(place.target) for place in places]
        weight, bias, old_mean, old_variance = (wide(run.tensors[name]) for name in names)
        eps = float(call["eps"])
        scale = weight / (old_variance + eps).sqrt()
        new = scale * (variance + eps).sqrt(), bias + scale * (mean - old_mean), mean, variance
        rounded = {n: x.to(run.tensors[n]) for n, x in zip(names, new, strict=True)}
        if all(bool(value.isfinite().all()) for value in rounded.values()):
            run.tensors.update(rounded)
    return run.stored()
