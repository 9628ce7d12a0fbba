"""What the dense network does on calibration data: moments, targets, errors."""

from __future__ import annotations

from .frontier import Frontier
from .layers import Layer, input_rows, matrix, output_rows, sizes, staying
from .moments import Moments, input_moments
from .observations import Observations, Record
from .targets import Target, affine

__all__ = [
    "Frontier",
    "Layer",
    "Moments",
    "Observations",
    "Record",
    "Target",
    "affine",
    "input_moments",
    "input_rows",
    "matrix",
    "output_rows",
    "sizes",
    "staying",
]
