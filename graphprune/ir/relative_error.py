"""Compare two tensors of floats, relative to the largest number in one of them."""

from __future__ import annotations

import math

import torch

__all__ = ["largest_finite", "relative_error"]

_LEAST = 1e-12
"""What differences are relative to at least."""

_FILL, _GAP = 1e4, 100.0
"""Fills, as of masks, are at least so large, and by such a factor above the largest other number."""


def relative_error(got: torch.Tensor, expected: torch.Tensor, *, floor: float = 0.0) -> float:
    """Compute the largest absolute difference, relative to the largest finite number expected.

    NaN and infinities have to stand in the same places. They aren't counted otherwise: a difference relative to
    infinity would be none. The same holds for huge finite numbers that both tensors have alike, such as those that a
    mask fills in.

    Args:
        got: real or complex numbers.
        expected: the same.
        floor: the number that differences are relative to at least.

    Returns:
        The error; infinite if the shapes differ, or the places of NaN or of infinities.
    """
    if got.shape != expected.shape:
        return math.inf
    if not expected.numel():
        return 0.0
    wide = torch.complex128 if expected.is_complex() else torch.float64
    a, b = got.detach().to(wide), expected.detach().to(wide)
    finite = b.isfinite()
    if not bool(finite.all()):
        if not torch.equal(a.isnan(), b.isnan()):
            return math.inf
        if not torch.equal(a.where(b.isinf(), 0), b.where(b.isinf(), 0)):
            return math.inf
    if not bool(a.isfinite().where(finite, True).all()):
        return math.inf
    largest = _largest_but_fills(b, same=a == b)
    scale = max(largest, torch.finfo(expected.dtype).tiny, _LEAST, floor)
    return float((a - b).where(finite, 0).abs().max()) / scale


def _largest_but_fills(values: torch.Tensor, same: torch.Tensor) -> float:
    """Return the largest finite absolute value below the fills: numbers behind a wide gap, all of them marked as ``same``."""
    largest = largest_finite(values)
    if largest < _FILL:
        return largest
    counted = values.isfinite() & (values != 0)
    sizes, order = values[counted].abs().sort()
    wide = (sizes[1:] >= _FILL) & (sizes[1:] >= _GAP * sizes[:-1])
    if not bool(wide.any()):
        return largest
    below = int(wide.nonzero()[0])
    fills_are_same = bool(same[counted][order[below + 1 :]].all())
    return float(sizes[below]) if fills_are_same else largest


def largest_finite(values: torch.Tensor) -> float:
    """Return the largest absolute value that is finite; 0 if there is none."""
    return float(values.where(values.isfinite(), 0).abs().max()) if values.numel() else 0.0
