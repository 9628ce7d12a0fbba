"""Count the multiply-accumulates of an ONNX node, and of the bodies that it runs, from sizes."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from graphprune.export.node_reads import graphs_of

if TYPE_CHECKING:
    import onnx

__all__ = ["count_macs"]

Sizes = Mapping[str, tuple[int, ...]]

_RECURRENT = frozenset({"DynamicQuantizeLSTM", "GRU", "LSTM", "RNN"})
_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "FusedConv": 1, "QLinearConv": 3}
"""Convolutions, and the position of their weight."""
_TRANSPOSED = {"ConvTranspose": 1}
"""Transposed convolutions, and the same."""
_PRODUCTS = {"FusedMatMul": 1, "Gemm": 1, "MatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3}
"""Products of matrices, and the position of their second operand."""
_WEIGHTS = _CONVOLUTIONS | _TRANSPOSED | _PRODUCTS


def count_macs(model: onnx.ModelProto, sizes: Sizes) -> int:
    """Count the multiply-accumulates of a model of one node.

    Of an If the dearer branch counts, of a loop one step. What has sizes that can't be told counts nothing.

    Args:
        model: the node.
        sizes: of its inputs and results.
    """
    import onnx.shape_inference

    known = copy.deepcopy(model)
    for value in known.graph.input:
        value.type.tensor_type.shape.Clear()
        value.type.tensor_type.shape.SetInParent()
        for size in sizes[value.name]:
            value.type.tensor_type.shape.dim.add().dim_value = size
    try:
        known = onnx.shape_inference.infer_shapes(known, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return _count(model.graph.node, sizes)
    return _count(known.graph.node, dict(_stated(known.graph)) | dict(sizes))


def _stated(graph: onnx.GraphProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    """List the sizes that a graph and its bodies state."""
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            yield value.name, tuple(dim.dim_value for dim in dims)
    yield from ((tensor.name, tuple(tensor.dims)) for tensor in graph.initializer)
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            yield node.output[0], tuple(node.attribute[0].t.dims)
        for body in graphs_of(node):
            yield from _stated(body)


def _count(nodes: Iterable[onnx.NodeProto], sizes: Sizes) -> int:
    total = 0
    for node in nodes:
        inner = [_count(body.node, sizes) for body in graphs_of(node)]
        total += max(inner, default=0) + _own(node, sizes)
    return total


def _own(node: onnx.NodeProto, sizes: Sizes) -> int:
    """Count what a node multiplies itself; 0 if its sizes aren't known, or it isn't known to multiply."""
    kind = node.op_type
    given, made = [sizes.get(name) for name in node.input], sizes.get(node.output[0])
    if kind in _RECURRENT:
        x, *weights = given[:3]
        if x is None or len(x) < 2 or None in weights:
            return 0
        return math.prod(x[:2]) * sum(math.prod(each) for each in weights if each)
    position = _WEIGHTS.get(kind, len(given))
    weight = given[position] if position < len(given) else None
    if not weight or made is None:
        return 0
    if kind in _TRANSPOSED:
        return math.prod(given[0] or (0,)) * math.prod(weight[1:])
    if kind in _CONVOLUTIONS:
        return math.prod(made) * math.prod(weight[1:])
    transposed = any(each.name == "transB" and each.i for each in node.attribute)
    inner = weight[-1] if transposed or len(weight) == 1 else weight[len(weight) - 2]
    return math.prod(made) * inner
