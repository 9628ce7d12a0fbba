"""What the dense network does on calibration data: moments, targets, errors."""

from __future__ import annotations

from .frontier import Frontier
from .layers import Layer, as_matrix, from_matrix, others, sizes, staying
from .moments import Moments, input_moments
from .observations import Observations, Record
from .parts import Stored, seen
from .rows import input_rows, output_rows
from .targets import Target, affine, put

__all__ = [
    "Frontier",
    "Layer",
    "Moments",
    "Observations",
    "Record",
    "Stored",
    "Target",
    "affine",
    "as_matrix",
    "from_matrix",
    "input_moments",
    "input_rows",
    "others",
    "output_rows",
    "put",
    "seen",
    "sizes",
    "staying",
]
