"""Pressure on the channels that go, and on no others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .method import Method, Moment, check_options, fade, ramp

__all__ = ["MaskSparsity"]


@dataclass(frozen=True)
class MaskSparsity(Method):
    """Choose the channels to go before the first step, and press these alone.

    The channels that stay are trained as if there were no penalty (Jiang et al. 2022, MaskSparsity,
    arXiv:2201.06776, which presses the BatchNorm scales of a mask; here it is the norms of the coupled rows, which
    every channel has). The penalty is ``strength`` times the mean of ``|w_c| / scale[g]`` over the channels to go. Its
    pressure grows linearly from zero (Wang et al. 2021, GReg, arXiv:2012.09243, section 3.2) until the share
    ``begins`` of the steps; then the channels fade too, so that they are zero at the share ``faded``.

    Attributes:
        strength: of the penalty when it is full grown.
        begins: share of the steps until which there is only the penalty.
        faded: share of the steps after which the channels that go are zero, (0, 1].
    """

    name: ClassVar[str] = "mask-sparsity"
    strength: float = 3.0
    begins: float = 0.1
    faded: float = 0.5

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        check_options(self, ("strength",), ("begins", "faded"))

    def penalty(self, now: Moment) -> Tensor:
        """Average the norms of the channels that go, each relative to its group's."""
        norms = torch.where(now.going, now.channels.norms() / now.scale, 0.0)
        pressure = self.strength * ramp(now.progress, 0.0, self.begins)
        return pressure * norms.sum() / now.going.sum().clamp(min=1)

    def after_step(self, now: Moment) -> None:
        """Let the channels that go fade."""
        fade(now, self.begins, self.faded)
