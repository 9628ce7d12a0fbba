"""Find channels of a layer whose weights are linear combinations of other channels' weights.

By QR, as LinDeps does (2025, arXiv:2507.21573): a row that is left with nothing once its projection
on the rows chosen before is taken off depends on them. LinDeps pivots by size; here rows are taken
in order, so that the layers that make the channels of a residual stream choose alike.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from .relations import LARGEST, TOLERANCE, Relations

__all__ = ["RANK_TOLERANCE", "combinations"]

RANK_TOLERANCE = 1e-10
"""What may be left of a row of weights that depends on others, relative to the row; float64."""


def combinations(weights: torch.Tensor, single: Relations, samples: torch.Tensor) -> Relations:
    """Add channels that combine several others to relations with one other.

    Args:
        weights: ``[width, features]`` of the layer that makes the channels, float64.
        single: constants, and affine functions of one other, among the channels.
        samples: of the channels, ``[width, 1, samples]``, by which the relations are checked; the
            offsets are read from them.
    """
    free = np.setdiff1d(np.arange(single.width), single.gone)
    rows = weights[torch.from_numpy(free)].cpu().numpy()
    found = _dependent(rows)
    if not found:
        return single
    width = single.width
    mix = dict(zip(single.gone.tolist(), single.mix, strict=True))
    for number, coefficients in found.items():
        mix[int(free[number])] = np.zeros(width)
        mix[int(free[number])][free] = coefficients
    for j in single.gone.tolist():  # what depends on a combination combines the same channels
        for leader in np.flatnonzero(mix[j]).tolist():
            if leader in mix:
                mix[j] = mix[j][leader] * mix[leader]
    gone = np.asarray(sorted(mix), dtype=np.int64)
    wide = np.stack([mix[int(j)] for j in gone])
    rest = samples[torch.from_numpy(gone)] - torch.tensordot(
        torch.from_numpy(wide).to(samples), samples, dims=1
    )
    mean = rest.mean(2)
    size = samples[torch.from_numpy(gone)].abs().amax(2)
    holds = ((rest - mean[:, :, None]).abs().amax(2) <= TOLERANCE * size).all(1).cpu().numpy()
    if not np.isin(single.gone, gone[holds]).all():
        return single
    offset = torch.where(mean.abs() <= TOLERANCE * size, 0.0, mean).cpu().numpy()
    return Relations(width, gone[holds], wide[holds], offset[holds])


def _dependent(rows: NDArray[np.float64]) -> dict[int, NDArray[np.float64]]:
    """Return each row that depends on rows before it, with its coefficients ``[rows]``."""
    size = np.linalg.norm(rows, axis=1)
    unit = rows / np.where(size > 0, size, 1)[:, None]
    if not len(unit) or _is_independent(unit):
        return {}
    basis = np.zeros((min(unit.shape), unit.shape[1]))
    chosen: list[int] = []
    for number, row in enumerate(unit):
        known = basis[: len(chosen)]
        rest = row - (row @ known.T) @ known
        rest -= (rest @ known.T) @ known  # again, as the first time leaves rounding errors
        left = float(np.linalg.norm(rest))
        if left > RANK_TOLERANCE and len(chosen) < len(basis):
            basis[len(chosen)] = rest / left
            chosen.append(number)
    others = np.setdiff1d(np.arange(len(unit)), chosen)
    terms = np.linalg.lstsq(rows[chosen].T, rows[others].T, rcond=None)[0].T
    largest = np.abs(terms).max(axis=1, initial=0)
    terms[np.abs(terms) <= RANK_TOLERANCE * largest[:, None]] = 0
    gap = np.linalg.norm(terms @ rows[chosen] - rows[others], axis=1)
    found: dict[int, NDArray[np.float64]] = {}
    for i in np.flatnonzero((gap <= RANK_TOLERANCE * size[others]) & (largest <= LARGEST)):
        found[int(others[i])] = np.zeros(len(rows))
        found[int(others[i])][chosen] = terms[i]
    return found


def _is_independent(unit: NDArray[np.float64]) -> bool:
    """Whether no row depends on those before it, by the triangle of a QR."""
    if len(unit) > unit.shape[1]:
        return False
    left = np.abs(np.diagonal(np.linalg.qr(unit.T, mode="r")))
    return bool((left > RANK_TOLERANCE).all())
