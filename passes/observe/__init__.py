"""What the dense network does on calibration data: moments, targets, errors."""

from __future__ import annotations

from .layers import Layer, as_matrix, from_matrix, others, sizes, staying
from .moments import Moments, input_moments
from .observations import Observations, Record
from .patches import input_rows, output_rows
from .refit_targets import Target, affine, put
from .staged_run import Frontier
from .weight_views import Stored, seen

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
