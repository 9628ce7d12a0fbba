"""One factor for the scores of classes, so that the smaller network is as sure of them as the dense one.

A refit by least squares draws outputs towards their mean, those of the likely classes most of all, and how much
is lost by that depends on how sure the dense network is. One factor, for weight and bias of the last layer alike, changes neither
the order of the scores nor an angle between outputs.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, fx

from graphprune.cut.cut import Cut
from graphprune.ir.devices import CPU, wide
from graphprune.ir.nodes import is_comparable
from graphprune.ir.private_torch import pytree
from graphprune.passes.observe import Layer, Observations, StoredTensors, StoredValues
from graphprune.passes.observe.distributed import sum_over_processes

__all__ = ["output_scale", "scaled_outputs"]

FACTORS = tuple(1.02**k for k in range(-20, 21))
"""Factors that are tried: from two thirds to one and a half, 2 % apart."""

WORSE = 1.05
"""Most by which a factor may raise the squared error of the outputs, should they be no scores."""


def output_scale(observations: Observations, cut: Cut, tensors: Mapping[str, Tensor]) -> float:
    """Find the factor for which the classes' probabilities diverge least from the dense ones.

    Args:
        observations: measurements of the dense network.
        cut: which channels are removed.
        tensors: weights of the cut network, which weren't fitted on the held-out batches.

    Returns:
        1 where the outputs aren't one row of scores for each sample, or no one layer makes them.
    """
    if _last_layer(observations, cut) is None:
        return 1.0
    numbers = observations.held_out
    run = observations.staged(cut.module, numbers, tensors)
    sums = torch.zeros(2, len(FACTORS), dtype=torch.float64)
    for number, outputs in zip(numbers, run.outputs(), strict=True):
        (got,), (want,) = outputs, observations.record.outputs[number]
        sums += _compared(wide(got), wide(want)).to(CPU)
    divergence, error = sum_over_processes(sums)
    allowed = error <= WORSE * error[FACTORS.index(1.0)]
    best = torch.where(allowed & divergence.isfinite(), divergence, torch.inf).argmin()
    return FACTORS[int(best)] if bool(allowed[best]) else 1.0


def scaled_outputs(
    observations: Observations, cut: Cut, tensors: Mapping[str, Tensor], factor: float
) -> dict[str, Tensor]:
    """Multiply the outputs of the layer that makes them: its weight, and its bias if it has one."""
    stored, layer = StoredValues(cut.module, tensors), _last_layer(observations, cut)
    assert layer is not None, "no one layer makes the outputs"
    for place in layer.places:
        copy = cut.copies[place]
        stored.set_constant(copy, stored.constant(copy) * factor)
        stored.write_back(copy)
    return stored.tensors


def _last_layer(observations: Observations, cut: Cut) -> Layer | None:
    """Return the layer whose results are the scores ``[samples, classes]``, if its weights are stored for it alone."""
    leaves = pytree.tree_leaves(observations.analysis.module.graph.output_node().args[0])
    if len(leaves) != 1 or not is_comparable(leaves[0]):
        return None
    size = leaves[0].meta["val"].shape
    if len(size) != 2 or size[1] < 2:
        return None
    stored = StoredTensors(cut.module)
    for layer in observations.layers:
        if _is_only_reader(layer, leaves[0]) and all(
            stored.is_exclusive(cut.copies[place], 1) for place in layer.places
        ):
            return layer
    return None


def _is_only_reader(layer: Layer, output: fx.Node) -> bool:
    """Whether a layer's results are the output and nothing else, with the bias that is its own."""
    return layer.end is output and layer.calls == 1 and len(output.users) == 1


def _compared(got: Tensor, want: Tensor) -> Tensor:
    """Return divergence and squared error ``[2, factors]``, summed over the samples, for every factor."""
    scaled = torch.stack([got * factor for factor in FACTORS])
    apart = want.softmax(1) * (want.log_softmax(1) - scaled.log_softmax(2))
    return torch.stack([apart.sum((1, 2)), (scaled - want).square().sum((1, 2))])
