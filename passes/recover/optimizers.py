"""Optimisers of distillation: Muon in the metric of the data, and AdamW."""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from graphprune.ir.devices import CPU
from graphprune.ir.program import unlift
from graphprune.ir.run_on_device import put_graph
from graphprune.ir.trainable import as_trainable
from graphprune.passes.observe import StoredTensors, input_moments, view_of

from .muon import Metric, Muon

__all__ = ["NEAREST", "RATES", "optimizers"]

RATES: Mapping[str, float] = {"muon": 0.12, "adamw": 5e-4}
"""Optimiser -> its highest learning rate. Muon's is the change of the layers' outputs in a step, as a share of
them, of all layers together: it is divided by their number. What was tried: ``docs/experiments.md``."""

NEAREST = 1 / 3
"""Least share of Muon's rate that is used: of a student whose error is under a ninth of the dense outputs' variance. The share is
the root of the error, since that is how far its outputs are to move. Of AdamW's rate its square is used, beside Muon: all
tensors that AdamW has, mostly scales and shifts of BatchNorm, move together."""

ALONE = 0.5
"""Share of Muon's rate that is used where only outputs are compared, and no values inside."""

ROWS_PER_UNKNOWN = 8
"""Rows sampled for a layer's metric, for each of its inputs."""


def optimizers(
    name: str,
    rate: float,
    student: nn.Module,
    program: ExportedProgram,
    batches: Sequence[tuple[Any, ...]],
    *,
    error: float = 1.0,
    alone: bool,
    device: torch.device = CPU,
) -> tuple[torch.optim.Optimizer, ...]:
    """Make the optimisers for all parameters, without weight decay.

    Args:
        name: ``adamw``; or ``muon`` for tensors all of whose elements are weights of layers, and AdamW
            for the others.
        rate: highest learning rate of that optimiser; 0: that of ``RATES``.
        student: the module that is trained, in the mode that it is trained in.
        program: the student as a program, in whose graph the layers are found.
        batches: flat inputs on which metrics are measured.
        error: squared error of the student's outputs on held-out data, relative to the dense outputs' variance.
        alone: whether only outputs are compared, and no values inside.
        device: where the student is.
    """
    others = list(student.parameters())
    if name == "adamw":
        return (torch.optim.AdamW(others, lr=rate or RATES[name], weight_decay=0.0),)
    share = min(1.0, max(NEAREST, math.sqrt(error)))
    rate = rate or RATES[name] * share * (ALONE if alone else 1.0)
    weights = dict(student.named_parameters())
    # A copy: in training mode, BatchNorm's statistics change while it runs.
    placed = as_trainable(put_graph(unlift(program), device))
    graph = copy.deepcopy(placed).train(student.training)
    measured = input_moments(graph, batches, per_unknown=ROWS_PER_UNKNOWN, device=device)
    stored, shared_out = StoredTensors(graph), defaultdict[nn.Parameter, list[Metric]](list)
    for layer, moments in measured.items():
        weight = weights.get(layer.name)
        if weight is not None and stored.is_exclusive(layer.weight, layer.calls):
            own = partial(view_of, layer.weight)
            shared_out[weight].append(Metric.of(weight, moments, own, transposed=layer.transposed))
    metrics = {
        weight: parts
        for weight, parts in shared_out.items()
        if sum(each.weight(weight).numel() for each in parts) == weight.numel()
    }
    others = [each for each in others if each not in metrics]
    made: list[torch.optim.Optimizer] = []
    if metrics:
        made.append(Muon(metrics, rate / sum(map(len, metrics.values()))))
    if others:
        slow = RATES["adamw"] * share**2
        made.append(torch.optim.AdamW(others, lr=slow, weight_decay=0.0))
    return tuple(made)
