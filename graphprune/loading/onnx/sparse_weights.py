"""Write the sparse tensors that an ONNX file stores as dense ones, which the rest of the reader and a cut know."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import LoadError, first_line
from graphprune.export.node_reads import graphs_of, nodes_of

from .values import MAX_ELEMENTS

if TYPE_CHECKING:
    import onnx

__all__ = ["with_dense_weights"]


def with_dense_weights(model: onnx.ModelProto) -> None:
    """Replace all sparse tensors of a model by dense ones, in place.

    Raises:
        LoadError: if one isn't valid, or all together have more elements than a result may have.
    """
    from onnx import numpy_helper

    left, nodes = MAX_ELEMENTS, list(nodes_of(model))
    for graph in (model.graph, *(body for node in nodes for body in graphs_of(node))):
        for sparse in graph.sparse_initializer:
            array = _dense(sparse, left)
            left -= array.size
            graph.initializer.append(numpy_helper.from_array(array, sparse.values.name))
        del graph.sparse_initializer[:]
    for node in nodes:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("sparse_tensor"):
                array = _dense(attribute.sparse_tensor, left)
                left -= array.size
                attribute.Clear()
                attribute.name, attribute.type = "value", type(attribute).TENSOR
                attribute.t.CopyFrom(numpy_helper.from_array(array))


def _dense(sparse: onnx.SparseTensorProto, left: int) -> NDArray[Any]:
    """Write out a sparse tensor of at most so many elements."""
    import onnx.checker
    from onnx import TensorProto, numpy_helper

    name, parts = sparse.values.name, (sparse.values, sparse.indices)
    count = math.prod(sparse.dims)
    if count > left or any(part.data_location == TensorProto.EXTERNAL for part in parts):
        raise LoadError(f"the sparse tensor {name!a:.80} is too large, or stored outside the file")
    try:
        onnx.checker.check_sparse_tensor(sparse)
        values, places = (numpy_helper.to_array(part) for part in parts)
        array = np.zeros(tuple(sparse.dims), values.dtype)
        if places.ndim == 1:
            array.reshape(-1)[places] = values
        else:
            array[tuple(places.T)] = values
    except (onnx.checker.ValidationError, ValueError, TypeError, IndexError) as error:
        raise LoadError(
            f"the sparse tensor {name!a:.80} can't be read: {first_line(error)}"
        ) from error
    return array
