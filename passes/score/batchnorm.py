"""Criterion by BatchNorm scales (network slimming)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import fx

from graphprune.analysis.analyse import Analysis
from graphprune.ir.nodes import bind
from graphprune.ops.norm import BATCH_NORM
from graphprune.passes.observe import Observations

from .criterion import Scores
from .magnitude import Magnitude, per_channel

__all__ = ["BatchNormScale"]


@dataclass(frozen=True)
class BatchNormScale:
    """Sum of the absolute BatchNorm scales ``|gamma|`` that a channel passes.

    Source: Liu et al. 2017 (Slimming, arXiv:1708.06519, section 3).

    A group that passes no BatchNorm has no such score. It is scored by L1 magnitude instead, and
    the notes name it.
    """

    needs_data: ClassVar[bool] = False

    def __call__(self, analysis: Analysis, observations: Observations | None = None) -> Scores:
        """Score the channels of all groups."""
        tensors = analysis.tensors
        scales = {
            id(tensors[str(scale.target)])
            for node in analysis.facts
            if node.target is BATCH_NORM
            and isinstance(scale := bind(node)["weight"], fx.Node)
            and str(scale.target) in tensors
        }
        scores = dict(Magnitude(p=1)(analysis).values)
        without: list[str] = []
        for group in analysis.groups:
            # One scale may have several names.
            passed = {id(tensors[o.tensor]): o for o in group.occurrences}
            parts = [
                per_channel(tensors[o.tensor].detach().abs().double(), o)
                for key, o in passed.items()
                if key in scales
            ]
            if parts:
                scores[group.id] = sum(parts[1:], parts[0])
            else:
                without.append(group.id)
        note = f"no BatchNorm, scored by L1 magnitude: {', '.join(without)}"
        return Scores(scores, (note,) if without else ())
