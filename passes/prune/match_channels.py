"""Match removed channels with kept ones that compute nearly the same, by what makes them (``merge.py``)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["Choice", "by_angle", "by_distance"]

Choice = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Per removed channel, the kept one it is merged into, and the factor; 0 where it is dropped."""


def by_angle(rows: torch.Tensor, kept: NDArray[np.int64], gone: NDArray[np.int64]) -> Choice:
    """Match each removed channel with the kept one at the smallest angle, if that is below 90 degrees.

    Args:
        rows: ``[width, features]``, what makes each channel, float64.
        kept: the kept channels, at least one.
        gone: the removed ones.
    """
    inner, size = _inner(rows, gone, kept), _squares(rows, kept)
    alike = np.divide(inner, np.sqrt(size), out=np.zeros_like(inner), where=size > 0)
    best = alike.argmax(1)
    chosen = np.take_along_axis(inner, best[:, None], 1)[:, 0]
    factor = np.divide(chosen, size[best], out=np.zeros(len(gone)), where=size[best] > 0)
    return kept[best], np.maximum(factor, 0)


def by_distance(
    parts: list[torch.Tensor], kept: NDArray[np.int64], gone: NDArray[np.int64]
) -> Choice:
    """Match each removed channel with the kept one nearest in all parameters, if that is nearer than zero.

    Args:
        parts: ``[width, n]`` each, float64: what the channels hold, part by part.
        kept: the kept channels, at least one.
        gone: the removed ones.
    """
    errors = np.zeros((len(gone), len(kept)))
    for part in parts:
        ours = _squares(part, gone)[:, None]
        gaps = np.maximum(ours + _squares(part, kept) - 2 * _inner(part, gone, kept), 0)
        errors += np.divide(gaps, ours, out=(gaps > 0).astype(np.float64), where=ours > 0)
    best = errors.argmin(1)
    return kept[best], (errors[np.arange(len(gone)), best] < 1).astype(np.float64)


def _inner(
    part: torch.Tensor, gone: NDArray[np.int64], kept: NDArray[np.int64]
) -> NDArray[np.float64]:
    return (part[torch.from_numpy(gone)] @ part[torch.from_numpy(kept)].T).cpu().numpy()


def _squares(part: torch.Tensor, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    return part[torch.from_numpy(rows)].square().sum(1).cpu().numpy()
