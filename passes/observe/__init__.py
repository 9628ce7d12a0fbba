"""What the dense network does on calibration data: moments, targets, errors."""

from __future__ import annotations

from .layers import Layer, as_matrix, from_matrix, kept_channels, regression_sizes, weights_left_out
from .moments import Moments, input_moments
from .observations import Observations, Record
from .patches import input_rows, output_rows
from .refit_targets import Target, combined_scale_and_shift, set_weights
from .staged_run import StagedRun
from .weight_views import StoredTensors, view_of

__all__ = [
    "Layer",
    "Moments",
    "Observations",
    "Record",
    "StagedRun",
    "StoredTensors",
    "Target",
    "as_matrix",
    "combined_scale_and_shift",
    "from_matrix",
    "input_moments",
    "input_rows",
    "kept_channels",
    "output_rows",
    "regression_sizes",
    "set_weights",
    "view_of",
    "weights_left_out",
]
