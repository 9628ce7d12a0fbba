"""Observation of the dense network on calibration data: what do its layers read and compute?

``observations`` holds what is measured: moments of the layers' inputs, targets, held-out outputs.
``layers`` sees every layer as a linear regression, ``staged_run`` runs a graph up to a layer whose
weights can then be changed. Criteria and recovery build on both.
"""

from __future__ import annotations

from .layers import Layer, as_matrix, from_matrix, kept_channels, regression_sizes, weights_left_out
from .moments import Moments, input_moments
from .observations import Observations
from .patches import grouped_rows, input_rows, output_rows
from .record import Record
from .refit_targets import Target, combined_scale_and_shift, set_weights
from .staged_run import ROOM, StagedRun
from .stored_values import StoredValues
from .weight_views import StoredTensors, view_of

__all__ = [
    "ROOM",
    "Layer",
    "Moments",
    "Observations",
    "Record",
    "StagedRun",
    "StoredTensors",
    "StoredValues",
    "Target",
    "as_matrix",
    "combined_scale_and_shift",
    "from_matrix",
    "grouped_rows",
    "input_moments",
    "input_rows",
    "kept_channels",
    "output_rows",
    "regression_sizes",
    "set_weights",
    "view_of",
    "weights_left_out",
]
