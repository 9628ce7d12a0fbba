"""Resample one axis as a sum of neighbours with weights: any ONNX coordinates, by ATen calls.

An output row reads 1 (nearest), 2 (linear) or 4 (cubic) input rows, its *taps*. Their indices and
weights follow from the sizes alone, so they are constants of the program.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from graphprune.errors import LoadError

__all__ = ["COORDINATES", "ROUNDINGS", "Sampling", "resampled"]

Floats = NDArray[np.float32]

COORDINATES = (
    "align_corners", "asymmetric", "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel",
    "tf_half_pixel_for_nn",
)  # fmt: skip
"""Names of the ways in which ONNX finds the place of an output row in the input."""

ROUNDINGS = ("ceil", "floor", "round_prefer_ceil", "round_prefer_floor", "simple")
"""Names of the ways in which ONNX rounds a place to the nearest row.

``simple`` is that of opset 10 and before, which has no name there: down where an axis grows, up
where it shrinks."""

MAX_ROWS = 1 << 18
"""Most rows of an axis that is resampled: each has constants of its own."""


@dataclass(frozen=True)
class Sampling:
    """How rows are interpolated.

    Attributes:
        mode: ``nearest``, ``linear`` or ``cubic``.
        coordinates: one of ``COORDINATES``.
        rounding: one of ``ROUNDINGS``; of the nearest row.
        cubic: the coefficient a of the cubic kernel.
        exclude_outside: whether cubic taps outside the input get no weight.
    """

    mode: str
    coordinates: str
    rounding: str
    cubic: float
    exclude_outside: bool

    @property
    def corners(self) -> bool:
        """Whether the first and the last rows of input and output lie on each other."""
        return self.coordinates == "align_corners"


def resampled(
    x: torch.Tensor, axis: int, size: int | None, scale: float | None, sampling: Sampling
) -> torch.Tensor:
    """Resize one axis by a sum of neighbours.

    Args:
        x: any tensor; the axis has a known size.
        axis: which one.
        size: of the result; ``None`` if the scale is given.
        scale: of the result's size; ``None`` if the size is given.
        sampling: how.
    """
    old = int(x.shape[axis])
    new = math.floor(old * scale) if size is None and scale is not None else int(size or 0)
    if new > MAX_ROWS:
        raise LoadError(f"an axis is resized to {new:.3g} rows, which is more than {MAX_ROWS}")
    factor = scale if scale is not None else new / old
    if factor == 1:
        return x
    places = _places(old, new, np.float32(factor), sampling.coordinates)
    if sampling.mode == "nearest":
        simple = "floor" if factor > 1 else "ceil"
        rounding = simple if sampling.rounding == "simple" else sampling.rounding
        return _rows(x, axis, np.clip(_rounded(places, rounding), 0, old - 1))
    first = np.floor(places).astype(np.int64) - (1 if sampling.mode == "cubic" else 0)
    fraction = (places - np.floor(places)).astype(np.float64)
    weights = (
        _cubic(fraction, sampling.cubic)
        if sampling.mode == "cubic"
        else np.stack([1 - fraction, fraction])
    )
    rows = np.stack([first + tap for tap in range(len(weights))])
    if sampling.mode == "cubic" and sampling.exclude_outside:
        weights = np.where((rows >= 0) & (rows < old), weights, 0.0)
        weights = weights / weights.sum(0)
    shape = [-1] + [1] * (x.dim() - axis - 1)
    total: Any = None
    for index, weight in zip(np.clip(rows, 0, old - 1), weights, strict=True):
        share = torch.tensor(weight.tolist(), dtype=x.dtype).reshape(shape)
        part = _rows(x, axis, index) * share
        total = part if total is None else total + part
    return total


def _rows(x: torch.Tensor, axis: int, index: NDArray[np.int64]) -> torch.Tensor:
    return x.index_select(axis, torch.tensor(index.tolist(), dtype=torch.int64))


def _places(old: int, new: int, scale: np.float32, coordinates: str) -> Floats:
    """Find the place of each output row in the input, in float32 as runtimes do."""
    i, half = np.arange(new, dtype=np.float32), np.float32(0.5)
    if coordinates == "align_corners":
        places = i * np.float32(old - 1) / np.float32(max(new - 1, 1))
    elif coordinates == "asymmetric":
        places = i / scale
    elif coordinates == "tf_half_pixel_for_nn":
        places = (i + half) / scale
    elif coordinates == "pytorch_half_pixel" and new == 1:
        places = np.zeros_like(i)
    elif coordinates == "half_pixel_symmetric":
        share = np.float32(new) / (scale * np.float32(old))
        places = np.float32(old) / 2 * (1 - share) + (i + half) / scale - half
    else:
        places = (i + half) / scale - half
    return places.astype(np.float32)


def _rounded(places: Floats, rounding: str) -> NDArray[np.int64]:
    match rounding:
        case "floor":
            found = np.floor(places)
        case "ceil":
            found = np.ceil(places)
        case "round_prefer_floor":
            found = np.ceil(places - np.float32(0.5))
        case _:
            found = np.floor(places + np.float32(0.5))
    return found.astype(np.int64)


def _cubic(fraction: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    """Compute the four weights of Keys' cubic convolution kernel, from left to right."""

    def near(d: NDArray[np.float64]) -> NDArray[np.float64]:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: NDArray[np.float64]) -> NDArray[np.float64]:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return np.stack([far(1 + fraction), near(fraction), near(1 - fraction), far(2 - fraction)])
