"""Infer the shapes of the values inside an ONNX model."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

__all__ = ["infer_onnx_shapes"]


def infer_onnx_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a model with the shapes that onnx infers.

    Sizes that are stated as -1, as some tools do, count as open: onnx's inference may end the process on them.
    """
    import onnx.shape_inference

    return onnx.shape_inference.infer_shapes(_with_open_sizes(model))


def _with_open_sizes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Leave sizes open that are stated as -1."""
    if not _negative_sizes(model):
        return model
    opened = copy.deepcopy(model)
    for dim in _negative_sizes(opened):
        dim.ClearField("dim_value")
    return opened


def _negative_sizes(model: onnx.ModelProto) -> list[onnx.TensorShapeProto.Dimension]:
    values = (*model.graph.input, *model.graph.output)
    dims = [dim for value in values for dim in value.type.tensor_type.shape.dim]
    return [dim for dim in dims if dim.HasField("dim_value") and dim.dim_value < 0]
