"""Replace sigmoids by a function without flat ends, in a program and in an ONNX model alike.

onnxruntime computes a sigmoid to some 1e-8 absolutely, not relatively: far in its tail, where a detector
is that sees nothing, no digit is right. With ``sign(x) log(1 + |x|)`` in its place everything before and
after it can still be compared digit by digit. ``onnx`` is imported where it is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import fx

from graphprune.ir.program import clone
from graphprune.ops import traits_of

from .node_reads import graphs_of
from .onnx_model import read_model

if TYPE_CHECKING:
    import onnx

__all__ = ["has_sigmoid", "unsaturated", "unsaturated_onnx"]

aten = torch.ops.aten


def has_sigmoid(graph: fx.Graph) -> bool:
    """Whether a graph calls a sigmoid, alone or in SiLU."""
    return any(traits_of(node).sigmoid for node in graph.nodes)


def unsaturated(module: fx.GraphModule) -> fx.GraphModule:
    """Make a copy of a graph in which ``sign(x) log(1 + |x|)`` stands for each sigmoid of ``x``."""
    copy = clone(module)
    graph = copy.graph
    for node in list(graph.nodes):
        if not (kind := traits_of(node).sigmoid):
            continue
        (x,) = node.args
        with graph.inserting_before(node):
            size = graph.call_function(aten.abs.default, (x,))
            grown = graph.call_function(aten.log1p.default, (size,))
            sign = graph.call_function(aten.sign.default, (x,))
            new = graph.call_function(aten.mul.Tensor, (sign, grown))
            if kind == "times":
                new = graph.call_function(aten.mul.Tensor, (x, new))
        node.replace_all_uses_with(new)
        graph.erase_node(node)
    copy.recompile()
    return copy


def unsaturated_onnx(model: bytes | str | Path) -> bytes:
    """Make a copy of an ONNX model in which the same stands for each Sigmoid.

    Args:
        model: a serialised model, or the path of one.
    """
    proto = read_model(model)
    _replace(proto.graph)
    return proto.SerializeToString()


def _replace(graph: onnx.GraphProto) -> None:
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        for inner in graphs_of(node):
            _replace(inner)
        nodes.extend(_stand_in(node) if node.op_type == "Sigmoid" else [node])
    del graph.node[:]
    graph.node.extend(nodes)


def _stand_in(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Compute ``log(1 + |x|)`` as softplus of ``log |x|``, which needs no constant of x's type."""
    from onnx import helper

    (x,), (y,) = node.input, node.output
    size, log, grown, sign = (f"{y}/{step}" for step in ("size", "log", "grown", "sign"))
    return [
        helper.make_node("Abs", [x], [size]),
        helper.make_node("Log", [size], [log]),
        helper.make_node("Softplus", [log], [grown]),
        helper.make_node("Sign", [x], [sign]),
        helper.make_node("Mul", [sign, grown], [y]),
    ]
