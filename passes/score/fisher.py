"""Criterion by group Fisher information: second-order change of the loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from graphprune.analysis.analyse import Analysis
from graphprune.passes.observe import Observations

from .criterion import Scores, additive, required
from .gradients import Probes

__all__ = ["GroupFisher"]


@dataclass(frozen=True)
class GroupFisher:
    """Second-order change of the loss when a channel's gate closes in all layers that read it.

    With one gate ``m`` per channel of a group, multiplied into every operand that contracts
    the group, the score is ``sum over samples of (dL/dm)^2 / 2``, per sample; ``dL/dm`` is the
    sum of ``a * dL/da`` over all those layers.

    Source: Liu et al. 2021 (*Group Fisher pruning for practical network compression*,
    arXiv:2108.00708, section 3.2), with the label-free loss of `gradients`. The paper divides by
    the memory or FLOPs that a channel saves, since it removes channels greedily; here the
    allocator weighs what they cost, so the score isn't divided. Scores of different groups are
    on one scale.

    Attributes:
        probes: random projections of the outputs, whose gradients are used.
    """

    needs_data: ClassVar[bool] = True
    probes: Probes = field(default_factory=Probes)

    def __call__(self, analysis: Analysis, observations: Observations | None = None) -> Scores:
        """Score the channels of all groups.

        Raises:
            OptionError: if there is no calibration data, or gradients aren't finite.
        """
        total = np.zeros(len(analysis.labels))
        samples = 0
        for count, gradient in self.probes.of_gates(
            analysis, required(observations, "fisher").data
        ):
            total += gradient.numpy() ** 2
            samples += count
        return additive({g.id: total[g.labels] / 2 / max(samples, 1) for g in analysis.groups})
