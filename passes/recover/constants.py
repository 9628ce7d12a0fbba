"""Refit the constants that removed branches leave behind: regressions without any inputs.

What is left of a layer that lost all its inputs is an intercept. The best one is the mean of what the layer
should give: of its dense values, less what the shortcut beside it really has in the cut network.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import fx

from graphprune.cut.cut import Cut
from graphprune.ir.devices import CPU, wide
from graphprune.passes.observe import Layer, Observations, StagedRun, output_rows
from graphprune.passes.observe.distributed import sum_over_processes

__all__ = ["refit_constant"]


def refit_constant(
    observations: Observations,
    cut: Cut,
    run: StagedRun,
    layer: Layer,
    numbers: Sequence[int],
    ahead: Collection[fx.Node],
) -> None:
    """Set the constant that stands for a layer without inputs to its mean target.

    Nothing changes where another call than the layer's target reads the constant, or the target isn't known.

    Args:
        observations: measurements of the dense network.
        cut: what is removed.
        run: of the cut network, up to some call before the layer.
        layer: a layer of the dense network.
        numbers: the batches that are run.
        ahead: calls of the cut network that mustn't be run yet.
    """
    target = observations.targets[layer]
    constant = _constant(cut, layer, target.value, target.other)
    if constant is None:
        return
    base = None if target.other is None else cut.copies.get(target.other)
    if (base is None) != (target.other is None) or (
        base is not None and not run.reach([base], ahead)
    ):
        return
    name = cut.constants[constant]
    old = run.tensors[name]
    rows = cut.kept(cut.analysis.layouts[layer.node][layer.channel])  # type: ignore[index]
    channels = torch.from_numpy(rows)
    summed, count = torch.zeros(int(channels.sum()), dtype=torch.float64), torch.zeros(1)
    for place, number in enumerate(numbers):
        if number not in observations.fitted:
            continue
        aims = observations.record.targets[layer, number]
        aims = wide(aims[:, channels.to(aims.device)])
        if base is not None:
            rows_of = observations.record.rows[layer, number]
            aims = aims - wide(output_rows(layer, run.at(place, [base])[0], rows_of))
        summed += aims.sum(0).to(CPU)
        count += len(aims)
    mean = sum_over_processes(summed) / sum_over_processes(count).clamp_min(1)
    if old.numel() == len(mean) and bool(mean.isfinite().all()):
        run.tensors[name] = mean.reshape(old.shape).to(old)


def _constant(cut: Cut, layer: Layer, value: fx.Node, other: fx.Node | None) -> fx.Node | None:
    """Find the constant that is a layer's target, or that is added to a shortcut to give it."""
    if layer.node not in cut.left.closed or layer.calls > 1:
        return None
    places = [value] if other is None else [n for n in value.all_input_nodes if n is not other]
    found = [node for node in places if node in cut.constants]
    return found[0] if len(found) == 1 and len(places) == 1 else None
