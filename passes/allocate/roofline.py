"""Estimate what a plan saves of the time of a run, without a measurement: by what is computed and what is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphprune.analysis.analyse import Analysis
from graphprune.axes.polynomial import Polynomial
from graphprune.passes.latency import written_bytes

__all__ = ["Roofline"]

BALANCE = 5.0
"""Multiply-accumulates that take as long as writing a byte. Of EfficientNet-B0, MobileNetV2, RegNetY-400, ResNet-34 and -50 and
ViT-B/32 at half of the FLOPs it is what explains the times that onnxruntime takes on an x86 processor best."""


@dataclass(frozen=True)
class Roofline:
    """A network's arithmetic and memory traffic, as functions of the widths of its groups.

    Their ratio tells whether fewer multiply-accumulates make a network faster
    (Williams et al. 2009, "Roofline: an insightful visual performance model").

    Attributes:
        dense: the dense widths of the groups.
        macs: multiply-accumulates.
        written: bytes that the kernels of the exported network write, after fusion.
    """

    dense: tuple[int, ...]
    macs: Polynomial
    written: Polynomial

    @staticmethod
    def of(analysis: Analysis) -> Roofline:
        """Make the estimate for a network."""
        dense = tuple(analysis.widths.tolist())
        return Roofline(dense, analysis.costs.macs, written_bytes(analysis))

    def falls_short(self, widths: Sequence[int], by: float) -> bool:
        """Whether a plan is expected to take more of the dense time than of the dense FLOPs, by more than a share."""
        return self.time(widths) > self.macs.at(widths) / self.macs.at(self.dense) + by

    def time(self, widths: Sequence[int]) -> float:
        """Estimate the time at widths, as a share of the dense network's."""
        least, most = (
            self.macs.at(each) + BALANCE * self.written.at(each) for each in (widths, self.dense)
        )
        return least / most

    def traffic(self, candidates: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float64]]:
        """Return how much is written at each candidate width of a group, other groups dense.

        Args:
            candidates: widths of every group.

        Returns:
            Per group, shares of the dense network's bytes that are written at each of its candidates and
            depend on it, ascending.
        """
        dense = self.written.at(self.dense)
        shares = [np.zeros(len(widths)) for widths in candidates]
        for term, bytes_each in self.written.terms.items():
            for group in {g for g in term if g >= 0}:
                others = math.prod(self.dense[g] for g in term if g >= 0 and g != group)
                power = sum(g == group for g in term)
                shares[group] += (
                    bytes_each * others * candidates[group].astype(float) ** power / dense
                )
        return shares
