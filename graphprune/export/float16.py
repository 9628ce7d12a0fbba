"""Convert an ONNX model to weights and arithmetic in float16."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING

from graphprune.errors import ExportError

if TYPE_CHECKING:
    import onnx

__all__ = ["HALF_TOLERANCE", "to_half"]

HALF_TOLERANCE = 2e-2
"""Largest relative error: some twenty roundings of float16, which are 1e-3 each."""


def to_half(model: onnx.ModelProto) -> bytes:
    """Convert a model to float16; its inputs and outputs stay as they were.

    The conversion is onnxruntime's own, which leaves operators that have no float16 kernel as
    they are.

    Args:
        model: in float32; it isn't changed.

    Raises:
        ExportError: if it holds no float32 weights.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    if all(t.data_type != onnx.TensorProto.FLOAT for t in model.graph.initializer):
        raise ExportError("there are no float32 weights to store as float16")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one for each weight below the smallest float16
        half = convert_float_to_float16(copy.deepcopy(model), keep_io_types=True)
    return half.SerializeToString()
