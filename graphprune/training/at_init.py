"""Pruning at initialisation: the channels to go are zero from the first step on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .method import Method, Moment, hold_at_zero

__all__ = ["AtInit"]


@dataclass(frozen=True)
class AtInit(Method):
    """Choose the channels before the first step, and hold those that go at zero from then on.

    The criterion is by default synaptic flow (Tanaka et al. 2020, SynFlow, arXiv:2006.05467), which suits
    untrained networks. ``score="snip"`` with calibration data is connection sensitivity (Lee et al. 2019, SNIP,
    arXiv:1810.02340); ``allocate="erk"`` gives the Erdős-Rényi-kernel widths (Evci et al. 2020, RigL,
    arXiv:1911.11134, section 3).
    """

    name: ClassVar[str] = "at-init"
    criterion: ClassVar[str] = "synflow"

    def after_step(self, now: Moment) -> None:
        """Set what goes to zero."""
        hold_at_zero(now)
