"""Criteria from activations, where the next layers read them: variance, and rank of feature maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from graphprune.analysis.analyse import Analysis
from graphprune.ir.devices import put, solver, to_solver, wide
from graphprune.passes.observe import Observations

from .activation_taps import ActivationTap, find_taps, run_taps
from .criterion import Scores, additive, required
from .magnitude import Magnitude

__all__ = ["ActivationVariance", "FeatureRank"]


@dataclass(frozen=True)
class ActivationVariance:
    """Variance of a channel times the squared norm of the weights that read it, summed over layers.

    ``Var(h_c) * |W[:, c]|^2`` is the mean squared error of those layers' outputs if the channel is replaced by its
    mean, as long as channels don't vary together.

    Source: An et al. 2024 (FLAP, arXiv:2312.11983, section 3.2) and Berisha et al. 2025
    (*Variance-based pruning for accelerating and compressing trained networks*, ICCV).
    Where a layer sees several rows of a channel, as after a flatten, they are summed. Scores of
    different groups are on the scale of the layers' own outputs.

    Attributes:
        samples: most calibration samples to use.
    """

    needs_data: ClassVar[bool] = True
    samples: int = 1024

    def __call__(self, analysis: Analysis, observations: Observations | None = None) -> Scores:
        """Score all groups; those whose readers have no tap, by L2 magnitude.

        Raises:
            OptionError: if there is no calibration data.
        """
        wanted = find_taps(analysis)
        moments = {id(tap): _VarianceSums() for tap in wanted}
        run_taps(
            analysis,
            wanted,
            required(observations, "variance").data,
            self.samples,
            lambda tap, x, w, count: moments[id(tap)].add(tap, x, w, count),
        )
        values: dict[str, NDArray[np.float64]] = {}
        for tap in wanted:
            score = moments[id(tap)].score(tap)
            values[tap.group.id] = values.get(tap.group.id, 0.0) + score
        found, notes = _filled(analysis, values)
        return additive(found, notes)


class _VarianceSums:
    """Running sums over samples and positions, of values less the mean of the first chunk."""

    def __init__(self) -> None:
        self.count = 0
        self.samples = 0
        self.centre = torch.zeros(())
        self.sums = torch.zeros(())
        self.squares = torch.zeros(())
        self.norms = torch.zeros(())

    def add(self, tap: ActivationTap, x: torch.Tensor, weight: torch.Tensor, count: int) -> None:
        """Add the activations of a chunk of ``count`` samples."""
        rows = _wide(x.movedim(tap.activations.dim, 0).flatten(1))
        if not self.count:
            self.centre = rows.mean(1, keepdim=True)
        rows = rows - self.centre
        self.sums = self.sums + rows.sum(1)
        self.squares = self.squares + rows.abs().square().sum(1)
        norm = _wide(weight).movedim(tap.weight.dim, 0).flatten(1).abs().square().sum(1)
        self.norms = self.norms + norm * (1 if tap.moving else count)
        self.count += rows.shape[1]
        self.samples += count

    def score(self, tap: ActivationTap) -> NDArray[np.float64]:
        """Return the score of each channel, ``[width]``."""
        mean = self.sums / max(self.count, 1)
        variance = (self.squares / max(self.count, 1) - mean.abs().square()).clamp_min(0)
        ours = variance.cpu().numpy()[tap.rows]
        norms = (self.norms / max(self.samples, 1)).cpu().numpy()[tap.weight_rows]
        if ours.shape == norms.shape:
            return (ours * norms).sum(1)
        # In a grouped convolution each group of filters reads rows of its own.
        return ours.mean(1) * norms.sum(1)


def _wide(values: torch.Tensor) -> torch.Tensor:
    """Convert to float64, complex numbers to complex128."""
    return to_solver(values).to(torch.complex128) if values.is_complex() else wide(values)


@dataclass(frozen=True)
class FeatureRank:
    """Mean rank of a channel's feature maps, where the next layers read them.

    Source: Lin et al. 2020 (HRank, arXiv:2002.10179, equation 4). Where layers read vectors
    instead of maps, a rank is 0 or 1 and tells little; the notes name those groups. Ranks are
    bounded by the size of the map, so scores compare within a group only.

    Attributes:
        samples: most calibration samples to use; ranks vary little between samples, and each takes
            a singular value decomposition.
    """

    needs_data: ClassVar[bool] = True
    samples: int = 64

    def __call__(self, analysis: Analysis, observations: Observations | None = None) -> Scores:
        """Score all groups; those whose readers have no tap, by L2 magnitude.

        Raises:
            OptionError: if there is no calibration data.
        """
        wanted = find_taps(analysis)
        totals = {g.id: np.zeros(g.width) for g in analysis.groups}
        shown = dict.fromkeys(totals, 0)
        flat: dict[str, bool] = {}

        def on_tap(tap: ActivationTap, x: torch.Tensor, weight: torch.Tensor, count: int) -> None:
            maps = _maps(tap, x, count)
            name = tap.group.id
            flat[name] = flat.get(name, True) and min(maps.shape[-2:]) == 1
            maps = maps if maps.is_complex() else maps.float()
            ranks = torch.linalg.matrix_rank(put(maps, solver(maps.device))).double()
            totals[name] += ranks.sum(1).cpu().numpy()
            shown[name] += maps.shape[1]

        run_taps(analysis, wanted, required(observations, "hrank").data, self.samples, on_tap)
        found, notes = _filled(
            analysis, {name: totals[name] / count for name, count in shown.items() if count}
        )
        vectors = [name for name, value in flat.items() if value]
        note = f"ranks of vectors, which tell little: {', '.join(vectors)}"
        return Scores(found, (*notes, note) if vectors else notes)


def _maps(tap: ActivationTap, x: torch.Tensor, count: int) -> torch.Tensor:
    """Reshape activations to maps ``[width, samples, rows, columns]``; the last axis is the columns."""
    maps = x.movedim(tap.activations.dim, 0)[torch.from_numpy(tap.rows).to(x.device)]
    width, several = maps.shape[:2]
    rest = maps.shape[2:]
    batched = bool(rest) and rest[0] == count
    samples, rest = (rest[0], rest[1:]) if batched else (1, rest)
    maps = maps.reshape(width, several, samples, *rest).transpose(1, 2)
    return maps.reshape(width, samples, -1, rest[-1] if rest else 1)


def _filled(
    analysis: Analysis, values: dict[str, NDArray[np.float64]]
) -> tuple[dict[str, NDArray[np.float64]], tuple[str, ...]]:
    """Score the groups without values by L2 magnitude, and add a note that names them."""
    without = [g.id for g in analysis.groups if g.id not in values]
    if not without:
        return values, ()
    magnitude = Magnitude(p=2)(analysis).values
    note = f"no activations where layers read it, scored by L2 magnitude: {', '.join(without)}"
    return {g.id: values.get(g.id, magnitude[g.id]) for g in analysis.groups}, (note,)
