"""Channels that never fire: zero on all of some inputs, wherever a layer reads them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from graphprune.analysis.analyse import Analysis
from graphprune.data.calibration import Calibration
from graphprune.passes.score.activation_taps import ActivationTap, find_taps, run_taps

__all__ = ["Silence", "Watch", "silent"]


@dataclass(frozen=True)
class Silence:
    """How many channels never fire; the dynamic dead-neuron rate of Liu et al. 2022 (AP, arXiv:2212.06145).

    Attributes:
        samples: inputs on which they were counted.
        before: share of all channels that never fired when training began.
        now: share of the channels that stay by the plan of the moment that never fire now.
    """

    samples: int
    before: float
    now: float

    def __str__(self) -> str:
        """Format as a line of the report."""
        return (
            f"never firing on {self.samples} inputs: {self.before:.1%} of all channels at first, "
            f"{self.now:.1%} of those that stay now"
        )


@dataclass(frozen=True, eq=False)
class Watch:
    """Inputs on which channels are counted, and what was found when training began.

    Attributes:
        data: the inputs.
        before: share of the channels that never fired.
    """

    data: Calibration
    before: float

    @staticmethod
    def of(data: Calibration, analysis: Analysis) -> Watch:
        """Count for the first time."""
        return Watch(data, _share(silent(analysis, data)))

    def silence(self, analysis: Analysis, going: Tensor) -> Silence:
        """Count again, among the channels that stay.

        Args:
            analysis: of the network of now, whose parameters are live.
            going: ``[channels]``, booleans: those that don't stay.
        """
        staying = silent(analysis, self.data)[~going.cpu()]
        return Silence(self.data.samples, self.before, _share(staying))


def silent(analysis: Analysis, data: Calibration) -> Tensor:
    """Tell which channels never fire: booleans ``[channels]``, over all groups in their order.

    The network is run as in evaluation. What counts is the value that layers read, so behind an activation; a constant
    other than zero is no silence. A channel that no layer reads as one of its inputs, as within a recurrent layer,
    isn't counted as silent.

    Args:
        analysis: of the network.
        data: inputs.
    """
    taps = find_taps(analysis)
    fires = {group.id: torch.zeros(group.width, dtype=torch.bool) for group in analysis.groups}
    read = {tap.group.id for tap in taps}

    def on_tap(tap: ActivationTap, x: Tensor, weight: Tensor, count: int) -> None:
        del weight, count
        nonzero = (x != 0).movedim(tap.activations.dim, 0).flatten(1).any(1).cpu()
        fires[tap.group.id] |= nonzero[torch.from_numpy(tap.rows)].any(1)

    run_taps(analysis, taps, data, data.samples, on_tap)
    found = [~fires[g.id] if g.id in read else fires[g.id] for g in analysis.groups]
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.bool)


def _share(some: Tensor) -> float:
    return float(some.double().mean()) if len(some) else 0.0
