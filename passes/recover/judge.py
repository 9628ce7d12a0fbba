"""What weights make of rows, and how far it is from the targets, where values beyond limits count alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from graphprune.ir.devices import wide
from graphprune.passes.observe.distributed import sum_over_processes, total

from .rows import Rows

__all__ = ["Judge", "Limits", "targets_within"]

Limits = tuple[float, float]
"""Least and greatest value that count: what lies outside counts as if it were there."""


class Judge:
    """Held-out rows of a layer, by which weights are judged.

    Args:
        rows: the rows.
        limits: where what follows the layer is flat below and above; ``None`` if nowhere.
    """

    def __init__(self, rows: Sequence[Rows], limits: Limits | None) -> None:
        self._limits = limits
        self._rows = [replace(each, targets=_clamped(each.targets, limits)) for each in rows]
        self.energy = total(sum(float(wide(each.targets).square().sum()) for each in rows))

    def errors(self, weights: Tensor, biases: Tensor) -> list[float]:
        """Return the squared error of each weight ``[k, g, o, u]`` with its bias ``[k, g, o]``; one product serves all."""
        wrong = weights.new_zeros(len(weights), dtype=torch.float64)
        for each in self._rows:
            got = _clamped(_predicted(each, weights, biases), self._limits)
            wrong += wide(got.sub_(each.targets).square_().sum((1, 2, 3)))
        return sum_over_processes(wrong).tolist()


def targets_within(
    rows: Sequence[Rows], weight: Tensor, bias: Tensor, limits: Limits | None
) -> Iterator[Rows]:
    """Replace targets outside of the limits by the prediction where that is outside too, else by the limit.

    Args:
        rows: rows to fit.
        weight: ``[g, o, u]``, by which is predicted.
        bias: ``[g, o]``.
        limits: as in ``Judge``.
    """
    if limits is None:
        yield from rows
        return
    lower, upper = limits
    for each in rows:
        got, want = _predicted(each, weight[None], bias[None])[0], each.targets
        aims = torch.where(want < lower, got.clamp_max(lower), want)
        if upper < math.inf:
            aims = torch.where(want > upper, got.clamp_min(upper), aims)
        yield replace(each, targets=aims)


def _predicted(rows: Rows, weights: Tensor, biases: Tensor) -> Tensor:
    """Return what some weights ``[k, g, o, u]`` and biases ``[k, g, o]`` make of rows: ``[k, g, n, o]``."""
    inputs, count = rows.inputs, len(weights)
    side_by_side = weights.to(inputs).permute(1, 3, 0, 2).flatten(2)
    got = (inputs @ side_by_side).unflatten(2, (count, -1)).permute(2, 0, 1, 3)
    return got.add_(biases.to(inputs)[:, :, None]).add_(rows.base)


def _clamped(values: Tensor, limits: Limits | None) -> Tensor:
    return values if limits is None else values.clamp(*limits)
