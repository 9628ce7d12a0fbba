"""Optimal brain surgeon: the error when channels are removed and the layers that read them refitted.

For a layer with weight ``W`` and inverse input covariance ``P``, removing the inputs ``S`` and
refitting the rest raises the squared error of its outputs by ``tr(W_S (P_SS)⁻¹ W_Sᵀ)``; the
refit is ``W -= W_S (P_SS)⁻¹ P_S``. One greedy backward elimination, which always removes what costs
least over all readers of the group, gives the order of the channels and the whole curve.

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
from graphprune.ir.devices import solver
from graphprune.passes.observe import (
    Layer,
    Observations,
    combined_scale_and_shift,
    regression_sizes,
)

from .interpreter import by_channel

__all__ = ["BackwardElimination", "ReaderLayer", "eliminate_backwards", "find_readers"]

RIDGE = 1e-3
"""Ridge added to the covariance's diagonal, in units of its mean."""

PORTION = 32
"""Share of the remaining channels removed in a step: ``n // 32`` of ``n``, at least one."""

PACKED = 0.2
"""Share of the inputs that must be removed before the matrices are reduced to those that remain."""


@dataclass(frozen=True)
class ReaderLayer:
    """Layer that reads a group.

    Attributes:
        layer: the layer.
        rows: ``[width, m]``, indices of its inputs that belong to each channel, within one of the
            layer's groups.
    """

    layer: Layer
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class BackwardElimination:
    """Result of the backward elimination of a group's channels.

    Attributes:
        order: channels in the order of removal; the last one is kept.
        curve: ``[width]``, squared error per row in the readers' outputs by number of channels removed; with
            one entry more where all were removed.
        refits: channels left -> refitted weight ``[groups, out / groups, u]`` of each reader, at the
            numbers asked for.
    """

    order: tuple[int, ...]
    curve: NDArray[np.float64]
    refits: Mapping[int, tuple[Tensor, ...]]


def find_readers(observations: Observations) -> dict[str, tuple[ReaderLayer, ...]]:
    """Find the layers with moments that read each group, by group id."""
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
    """A reader's weight and inverse covariance while channels are removed."""

    def __init__(self, observations: Observations, reader: ReaderLayer) -> None:
        layer, weight = reader.layer, observations.weights[reader.layer]
        groups, unknowns = regression_sizes(layer)
        taps = math.prod(weight.shape[2:])
        covariance = observations.record.moments[layer].covariance
        diagonal = covariance.diagonal(dim1=1, dim2=2)
        diagonal += (RIDGE * diagonal.mean(1) + 1e-12)[:, None]
        self.inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
        affine = combined_scale_and_shift(
            observations.targets[layer].norms, observations.analysis.tensors
        )
        self.scale = None if affine is None else affine[0].to(self.inverse).reshape(groups, -1, 1)
        self.weight = layer.matrix(weight, groups).clone()
        if self.scale is not None:
            self.weight *= self.scale
        columns = reader.rows[:, :, None] * taps + np.arange(taps)
        self.device = self.inverse.device
        self.columns = torch.from_numpy(columns.reshape(len(columns), -1)).to(self.device)
        self.unknowns, self.left = unknowns, torch.arange(unknowns, device=self.device)
        self.gone = torch.zeros(unknowns, dtype=torch.bool, device=self.device)

    def costs(self, channels: Tensor) -> Tensor:
        """Return the squared error per row ``[channels]`` if one of them is removed."""
        at = self.columns[channels]
        block = self.inverse[:, at[:, :, None], at[:, None, :]]
        weight = self.weight[:, :, at].permute(0, 2, 3, 1)
        return (weight * torch.linalg.solve(block, weight)).sum((0, 2, 3))

    def remove(self, channels: Tensor) -> float:
        """Remove channels, refit the weight, and return the squared error per row that this adds."""
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
        """Drop removed rows and columns from the matrices, once there are enough of them."""
        self.gone[gone] = True
        if int(self.gone.sum()) < PACKED * len(self.gone):
            return
        stay = (~self.gone).nonzero().flatten()
        place = torch.cumsum(~self.gone, 0) - 1
        self.columns = place[self.columns]
        self.left, self.weight = self.left[stay], self.weight[:, :, stay]
        self.inverse = self.inverse[:, stay[:, None], stay]
        self.gone = torch.zeros(len(stay), dtype=torch.bool, device=self.device)

    def unscaled_weight(self) -> Tensor:
        """Return the weight in the layer's own unit, without BatchNorm's scale."""
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
    """Remove a group's channels one after the other, the one of least error first.

    Args:
        observations: measurements of the dense network.
        group: the group whose channels are removed.
        readers: the layers that read it.
        points: numbers of channels left at which refitted weights are returned. The last channel stays
            unless 0 is among them.
    """
    states = [_State(observations, reader) for reader in readers]
    device = solver(observations.device)
    left = torch.arange(group.width, device=device)
    order: list[int] = []
    curve = [0.0]
    refits: dict[int, tuple[Tensor, ...]] = {}
    stops = sorted(points, reverse=True)
    fewest = 0 if 0 in points else 1
    while len(left) > fewest:
        count = max(1, len(left) // PORTION)
        if stops:
            count = min(count, max(1, len(left) - stops[0]))
        costs = sum((state.costs(left) for state in states), torch.zeros(len(left), device=device))
        gone = left[torch.argsort(costs, stable=True)[:count]]
        step = sum(state.remove(gone) for state in states)
        curve += [curve[-1] + max(step, 0.0) * (i + 1) / count for i in range(count)]
        order += gone.tolist()
        left = left[~torch.isin(left, gone)]
        if stops and len(left) <= stops[0]:
            refits[stops.pop(0)] = tuple(state.unscaled_weight() for state in states)
    return BackwardElimination((*order, *left.tolist()), np.asarray(curve), refits)
