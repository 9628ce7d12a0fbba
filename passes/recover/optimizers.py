"""What moves the weights in distillation."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from graphprune.ir.trainable import trainable_graph
from graphprune.passes.observe import StoredTensors, input_moments, view_of

from .muon import Metric, Muon

__all__ = ["RATES", "optimizers"]

RATES: Mapping[str, float] = {"muon": 0.12, "adamw": 5e-4}
"""Optimisers and their highest rates. Muon's is a share of the layers' outputs, and divided by the
number of layers: what a step does to all of them together. What was tried: ``docs/recovery.md``."""

ALONE = 0.5
"""Muon's rate is so much of that where outputs alone are compared."""

ROWS_PER_UNKNOWN = 8
"""Rows that a layer's metric is measured on, for each of its inputs."""


def optimizers(
    name: str,
    rate: float,
    student: nn.Module,
    program: ExportedProgram,
    batches: Sequence[tuple[Any, ...]],
    *,
    alone: bool,
) -> tuple[torch.optim.Optimizer, ...]:
    """Optimisers for all parameters; nothing is decayed.

    Args:
        name: ``adamw``; or ``muon`` for tensors all of whose elements are weights of layers, and AdamW
            for the others.
        rate: highest rate of what ``name`` says; 0: that of ``RATES``.
        student: what is trained, in the mode that it is trained in.
        program: the same, whose graph says what the layers are.
        batches: its inputs; metrics are measured on them.
        alone: whether outputs alone are compared.
    """
    others = list(student.parameters())
    if name == "adamw":
        return (torch.optim.AdamW(others, lr=rate or RATES[name], weight_decay=0.0),)
    rate = rate or RATES[name] * (ALONE if alone else 1.0)
    weights = dict(student.named_parameters())
    # A copy: in training mode, BatchNorm's statistics change while it runs.
    graph = copy.deepcopy(trainable_graph(program)).train(student.training)
    found = input_moments(graph, batches, per_unknown=ROWS_PER_UNKNOWN)
    stored, shared_out = StoredTensors(graph), defaultdict[nn.Parameter, list[Metric]](list)
    for layer, moments in found.items():
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
        made.append(torch.optim.AdamW(others, lr=RATES["adamw"], weight_decay=0.0))
    return tuple(made)
