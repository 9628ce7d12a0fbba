"""Replace what an ONNX model draws at random by fixed numbers, to compare it with PyTorch.

The numbers are those of ``ops/fixed_random.py``. What PyTorch draws as 0 or 1 becomes a
comparison with a uniform number, or an operator of its own. ``onnx`` is imported in the functions
that need it, so that importing graphprune stays quick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphprune.ops.fixed_random import MIDDLE, NORMAL

from .node_reads import graphs_of
from .onnx_model import read_model, stored_tensors

if TYPE_CHECKING:
    import onnx

__all__ = ["with_fixed_random"]


def with_fixed_random(model: bytes | str | Path) -> bytes:
    """Make a copy of an ONNX model that draws no random numbers.

    Operators that draw from a distribution they are given, such as Multinomial, stay as they are.

    Args:
        model: a serialised model, or the path of one.

    Returns:
        The serialised copy.
    """
    proto = read_model(model)
    _fix(proto.graph, {})
    return proto.SerializeToString()


def _fix(graph: onnx.GraphProto, around: Mapping[str, onnx.TensorProto]) -> None:
    """Replace the draws of a graph and of the bodies in it, in place.

    Args:
        graph: what to change.
        around: tensors that the graphs around it store, by name.
    """
    known = {**around, **stored_tensors(graph)}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        for body in graphs_of(node):
            _fix(body, known)
        make = _STAND_INS.get(node.op_type)
        nodes.extend([node] if make is None else make(node, known))
    del graph.node[:]
    graph.node.extend(nodes)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    import onnx

    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _drawn(node: onnx.NodeProto) -> float:
    """Compute the fixed number in place of one that a node draws."""
    given = _attributes(node)
    if node.op_type.startswith("RandomNormal"):
        return given.get("mean", 0.0) + NORMAL * given.get("scale", 1.0)
    low, high = given.get("low", 0.0), given.get("high", 1.0)
    return low + MIDDLE * (high - low)


def _like(node: onnx.NodeProto, _: Mapping[str, onnx.TensorProto]) -> list[onnx.NodeProto]:
    """Make as many fixed numbers as another tensor has."""
    import onnx

    (out,), (source,) = node.output, node.input
    value = onnx.numpy_helper.from_array(np.array([_drawn(node)], dtype=np.float32))
    return [
        onnx.helper.make_node("Shape", [source], [f"{out}_shape"]),
        onnx.helper.make_node("ConstantOfShape", [f"{out}_shape"], [f"{out}_fixed"], value=value),
        _typed(node, f"{out}_fixed", source),
    ]


def _of_shape(node: onnx.NodeProto, _: Mapping[str, onnx.TensorProto]) -> list[onnx.NodeProto]:
    """Make fixed numbers of a stated shape."""
    import onnx

    given, (out,) = _attributes(node), node.output
    value = onnx.numpy_helper.from_array(np.full(given["shape"], _drawn(node), dtype=np.float32))
    constant = onnx.helper.make_node("Constant", [], [f"{out}_fixed"], value=value)
    return [
        constant,
        onnx.helper.make_node(
            "Cast", [f"{out}_fixed"], [out], to=given.get("dtype", onnx.TensorProto.FLOAT)
        ),
    ]


def _chance(node: onnx.NodeProto, _: Mapping[str, onnx.TensorProto]) -> list[onnx.NodeProto]:
    """Make 1 where that is likelier than 0."""
    import onnx

    (out,), (source,) = node.output, node.input
    value = onnx.numpy_helper.from_array(np.array(MIDDLE, dtype=np.float32))
    return [
        onnx.helper.make_node("Constant", [], [f"{out}_middle"], value=value),
        onnx.helper.make_node("CastLike", [f"{out}_middle", source], [f"{out}_typed"]),
        onnx.helper.make_node("Greater", [source, f"{out}_typed"], [f"{out}_fixed"]),
        _typed(node, f"{out}_fixed", source),
    ]


def _dropout(node: onnx.NodeProto, known: Mapping[str, onnx.TensorProto]) -> list[onnx.NodeProto]:
    """Keep and scale all or nothing, whichever is likelier; dropout that is off stays."""
    import onnx

    ratio, training = (known.get(name) for name in (*node.input[1:], "", "")[:2])
    if ratio is None or training is None or not _number(training):
        return [node]
    stays = 1.0 - _number(ratio)
    out, source = node.output[0], node.input[0]
    factor = onnx.numpy_helper.from_array(
        np.array(1 / stays if stays > MIDDLE else 0.0, dtype=np.float32)
    )
    return [
        onnx.helper.make_node("Constant", [], [f"{out}_factor"], value=factor),
        onnx.helper.make_node("CastLike", [f"{out}_factor", source], [f"{out}_typed"]),
        onnx.helper.make_node("Mul", [source, f"{out}_typed"], [out]),
    ]


def _number(tensor: onnx.TensorProto) -> float:
    import onnx

    return float(onnx.numpy_helper.to_array(tensor))


def _typed(node: onnx.NodeProto, value: str, source: str) -> onnx.NodeProto:
    """Cast to the type that the node states, or else to its operand's."""
    import onnx

    kind = _attributes(node).get("dtype")
    if kind is None:
        return onnx.helper.make_node("CastLike", [value, source], list(node.output))
    return onnx.helper.make_node("Cast", [value], list(node.output), to=kind)


_STAND_INS: dict[str, Callable[..., list[onnx.NodeProto]]] = {
    "Bernoulli": _chance,
    "Dropout": _dropout,
    "RandomNormal": _of_shape,
    "RandomNormalLike": _like,
    "RandomUniform": _of_shape,
    "RandomUniformLike": _like,
}
