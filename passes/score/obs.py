"""Optimal brain surgeon: what is lost when channels go and their readers are refitted.

For a layer with weight ``W`` and inverse input covariance ``P``, removing the inputs ``S`` and
refitting the rest raises the squared error of its outputs by ``tr(W_S (P_SS)⁻¹ W_Sᵀ)``; the
refit is ``W -= W_S (P_SS)⁻¹ P_S``. One greedy sweep, always removing what costs least over all
readers of the group, gives the order of the channels and the whole curve.

Source: Hassibi & Stork 1993 (optimal brain surgeon, equations 5 to 7), for blocks of inputs as in
Kurtic et al. 2023 (ZipLM, arXiv:2302.04089, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphprune.analysis.groups import Group
from graphprune.passes.observe import (
    Layer,
    Observations,
    combined_scale_and_shift,
    regression_sizes,
)

from .interpreter import by_channel

__all__ = ["BackwardElimination", "ReaderLayer", "eliminate_backwards", "find_readers"]

RIDGE = 1e-3
"""Added to the covariance, in units of its mean diagonal."""

PORTION = 32
"""Of ``n`` channels ``n // PORTION``, but at least one, go at a time."""

PACKED = 0.2
"""When so large a share of the inputs has gone, they are no longer carried along."""


@dataclass(frozen=True)
class ReaderLayer:
    """A layer that reads a group.

    Attributes:
        layer: the layer.
        rows: ``[width, m]``: rows of its input side that go with each channel, within one of
            the layer's groups.
    """

    layer: Layer
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class BackwardElimination:
    """What one sweep over a group found.

    Attributes:
        order: channels in the order of removal; the last one stays.
        curve: ``[width]``: squared error in the readers' outputs per row, when so many channels
            have gone.
        refits: channels left -> per reader, its refitted weight ``[groups, out, u]`` in its own
            unit, at some points on the way.
    """

    order: tuple[int, ...]
    curve: NDArray[np.float64]
    refits: Mapping[int, tuple[Tensor, ...]]


def find_readers(observations: Observations) -> dict[str, tuple[ReaderLayer, ...]]:
    """Group id -> the layers with moments that contract its channels."""
    analysis = observations.analysis
    found: dict[str, list[ReaderLayer]] = {group.id: [] for group in analysis.groups}
    for layer in observations.record.moments:
        (contraction,) = analysis.facts[layer.node].contractions
        inputs = regression_sizes(layer)[1] // math.prod(observations.weights[layer].shape[2:])
        axis = analysis.labels.resolve(contraction.axis)[:inputs]  # alike in all groups of a layer
        row, column = np.nonzero(axis)
        labels = axis[row, column]
        numbers = analysis.grouping.of_label[labels]
        for number in np.unique(numbers[numbers >= 0]):
            group, here = analysis.groups[number], numbers == number
            rows = by_channel(group, labels[here], row[here])
            if rows is not None:
                found[group.id].append(ReaderLayer(layer, rows))
    return {name: tuple(readers) for name, readers in found.items()}


class _State:
    """A reader's weights and inverse covariance while channels go."""

    def __init__(self, observations: Observations, reader: ReaderLayer) -> None:
        layer, weight = reader.layer, observations.weights[reader.layer]
        groups, unknowns = regression_sizes(layer)
        taps = math.prod(weight.shape[2:])
        covariance = observations.record.moments[layer].covariance
        spread = covariance.diagonal(dim1=1, dim2=2).mean(1)
        penalty = (RIDGE * spread + 1e-12)[:, None].expand(groups, unknowns)
        self.inverse = torch.linalg.inv(covariance + torch.diag_embed(penalty))
        behind = combined_scale_and_shift(
            observations.targets[layer].norms, observations.analysis.tensors
        )
        self.scale = None if behind is None else behind[0].reshape(groups, -1, 1)
        self.weight = layer.matrix(weight, groups).clone()
        if self.scale is not None:
            self.weight *= self.scale
        columns = reader.rows[:, :, None] * taps + np.arange(taps)
        self.columns = torch.from_numpy(columns.reshape(len(columns), -1))
        self.unknowns, self.left = unknowns, torch.arange(unknowns)
        self.gone = torch.zeros(unknowns, dtype=torch.bool)

    def costs(self, channels: Tensor) -> Tensor:
        """``[channels]``: squared error per row if one of them goes."""
        at = self.columns[channels]
        block = self.inverse[:, at[:, :, None], at[:, None, :]]
        weight = self.weight[:, :, at].permute(0, 2, 3, 1)
        return (weight * torch.linalg.solve(block, weight)).sum((0, 2, 3))

    def remove(self, channels: Tensor) -> float:
        """Remove channels, refit, and say what it costs."""
        at = self.columns[channels].reshape(-1)
        weight = self.weight[:, :, at].transpose(1, 2)
        beside = self.inverse[:, :, at]
        block = beside[:, at]
        gain = torch.linalg.solve(block, torch.cat([weight, beside.transpose(1, 2)], dim=2))
        for_weight, for_inverse = gain.split([weight.shape[2], gain.shape[2] - weight.shape[2]], 2)
        cost = float((weight * for_weight).sum())
        self.weight -= (beside @ for_weight).transpose(1, 2)
        self.weight[:, :, at] = 0
        self.inverse.baddbmm_(beside, for_inverse, alpha=-1)
        self.inverse[:, at] = 0
        self.inverse[:, :, at] = 0
        self._drop(at)
        return cost

    def _drop(self, gone: Tensor) -> None:
        """Forget rows and columns that have gone, once there are enough of them."""
        self.gone[gone] = True
        if int(self.gone.sum()) < PACKED * len(self.gone):
            return
        stay = (~self.gone).nonzero().flatten()
        place = torch.cumsum(~self.gone, 0) - 1
        self.columns = place[self.columns]
        self.left, self.weight = self.left[stay], self.weight[:, :, stay]
        self.inverse = self.inverse[:, stay[:, None], stay]
        self.gone = torch.zeros(len(stay), dtype=torch.bool)

    def unscaled_weight(self) -> Tensor:
        """The weight as the layer has it."""
        weight = self.weight.new_zeros(*self.weight.shape[:2], self.unknowns)
        weight[:, :, self.left] = self.weight
        if self.scale is None:
            return weight
        safe = torch.where(self.scale == 0, 1.0, self.scale)
        return weight / safe


def eliminate_backwards(
    observations: Observations,
    group: Group,
    readers: tuple[ReaderLayer, ...],
    points: tuple[int, ...] = (),
) -> BackwardElimination:
    """Remove a group's channels one after the other, the cheapest first.

    Args:
        observations: measurements of the dense network.
        group: the group.
        readers: the layers that read it.
        points: numbers of channels left at which the refitted weights are wanted.
    """
    states = [_State(observations, reader) for reader in readers]
    left = torch.arange(group.width)
    order: list[int] = []
    curve = [0.0]
    refits: dict[int, tuple[Tensor, ...]] = {}
    stops = sorted(points, reverse=True)
    while len(left) > 1:
        count = max(1, len(left) // PORTION)
        if stops:
            count = min(count, max(1, len(left) - stops[0]))
        costs = sum((state.costs(left) for state in states), torch.zeros(len(left)))
        gone = left[torch.argsort(costs, stable=True)[:count]]
        step = sum(state.remove(gone) for state in states)
        curve += [curve[-1] + max(step, 0.0) * (i + 1) / count for i in range(count)]
        order += gone.tolist()
        left = left[~torch.isin(left, gone)]
        if stops and len(left) <= stops[0]:
            refits[stops.pop(0)] = tuple(state.unscaled_weight() for state in states)
    return BackwardElimination((*order, *left.tolist()), np.asarray(curve), refits)
