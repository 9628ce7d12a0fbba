"""Criteria by sensitivity: products of parameters and their gradients.

All use the label-free loss of `gradients`, and reduce over every parameter row of a group.
Scores of different groups are on one scale, that of the network's output, so the curves are
absolute: scores of removed channels add up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.groups import Group, Occurrence
from graphprune.ops.float64 import to_float64
from graphprune.passes.observe import Observations

from .criterion import Scores, additive, required
from .gradients import Probes
from .magnitude import parameters, per_channel

__all__ = ["Connection", "OptimalBrainDamage", "Taylor"]

Gradients = dict[int, torch.Tensor]


@dataclass(frozen=True)
class Sensitivity(ABC):
    """Base of the criteria here: the mean of a score over random projections of the outputs.

    Attributes:
        probes: the random projections.
    """

    needs_data: ClassVar[bool] = True
    probes: Probes = field(default_factory=Probes)

    def __call__(self, analysis: Analysis, observations: Observations | None = None) -> Scores:
        """Score the channels of all groups.

        Raises:
            OptionError: if there is no calibration data, or gradients aren't finite.
        """
        totals = {g.id: np.zeros(g.width) for g in analysis.groups}
        number = 0
        for count, gradients in self.probes.of_parameters(
            analysis, required(observations, type(self).__name__).data
        ):
            number += 1
            for group in analysis.groups:
                totals[group.id] += self.share(analysis, group, gradients, count)
        return additive({name: total / max(number, 1) for name, total in totals.items()})

    @abstractmethod
    def share(
        self, analysis: Analysis, group: Group, gradients: Gradients, count: int
    ) -> NDArray[np.float64]:
        """Return the scores ``[width]`` by one projection.

        Args:
            analysis: the analysis of the dense program.
            group: the group to score.
            gradients: gradients of the projection, by ``id`` of the parameter.
            count: number of samples in the projection.
        """


@dataclass(frozen=True)
class Taylor(Sensitivity):
    """First-order change of the loss, ``|sum over the group of w * dL/dw|``, or its square.

    Source: Molchanov et al. 2019 (*Importance estimation for neural network pruning*,
    arXiv:1906.10771, equations 8 and 9), over all parameters of a group as in Fang et al. 2023
    (DepGraph, arXiv:2301.12900, section 3.3).

    The square is the squared change of the outputs to first order, summed over a chunk.

    Attributes:
        power: 1 for the absolute value, 2 for the square.
    """

    power: int = 1

    def share(
        self, analysis: Analysis, group: Group, gradients: Gradients, count: int
    ) -> NDArray[np.float64]:
        """Return the scores by one projection; see `Sensitivity`."""
        changes = _changes(analysis, group, gradients)
        total = sum((per_channel(*each) for each in changes), start=np.zeros(group.width))
        return np.abs(total) ** self.power


@dataclass(frozen=True)
class OptimalBrainDamage(Sensitivity):
    """Second-order change of the loss by its diagonal: ``sum of w^2 E[g^2] / 2``, per sample.

    Source: LeCun, Denker & Solla 1989 (*Optimal brain damage*, equation 5), with the
    Gauss-Newton diagonal for the Hessian's as in its section 2.2.
    """

    def share(
        self, analysis: Analysis, group: Group, gradients: Gradients, count: int
    ) -> NDArray[np.float64]:
        """Return the scores by one projection; see `Sensitivity`."""
        changes = _changes(analysis, group, gradients)
        squares = (per_channel(change.square(), where) for change, where in changes)
        return sum(squares, start=np.zeros(group.width)) / 2 / count


@dataclass(frozen=True)
class Connection(Sensitivity):
    """Connection sensitivity, for nets at initialisation: sum of ``|w * dL/dw|``.

    Source: Lee, Ajanthan & Torr 2019 (SNIP, arXiv:1810.02340, equations 3 and 5); summed over
    a channel's weights as in Rachwan et al. 2022 (arXiv:2206.10451, section 3). Equation 5
    divides by the sum over all weights, which leaves comparisons as they are, and isn't done.
    """

    def share(
        self, analysis: Analysis, group: Group, gradients: Gradients, count: int
    ) -> NDArray[np.float64]:
        """Return the scores by one projection; see `Sensitivity`."""
        changes = _changes(analysis, group, gradients)
        sizes = (per_channel(change.abs(), where) for change, where in changes)
        return sum(sizes, start=np.zeros(group.width))


def _changes(
    analysis: Analysis, group: Group, gradients: Gradients
) -> Iterator[tuple[torch.Tensor, Occurrence]]:
    """Yield each parameter of a group that has gradients, times these: the first-order change if an element goes, less its sign.

    In float64.
    """
    for tensor, where in parameters(analysis, group):
        if id(tensor) in gradients:
            product = to_float64(tensor.detach()) * to_float64(gradients[id(tensor)]).conj()
            yield product.real if product.is_complex() else product, where
