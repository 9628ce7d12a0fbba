"""Replace sigmoids by a function without flat ends, in a program and in an ONNX model alike.

onnxruntime computes a sigmoid to some 1e-8 absolutely, not relatively: far in its tail, where a detector
is that sees nothing, no digit is right. With ``sign(x) log(1 + |x|)`` in its place everything before and
after it can still be compared digit by digit. ``onnx`` is imported where it is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from graphprune.ir.program import clone
from graphprune.ops import traits_of

from .node_reads import graphs_of
from .onnx_model import opset_of, read_model

if TYPE_CHECKING:
    import onnx

__all__ = ["has_sigmoid", "unsaturated", "unsaturated_onnx"]

aten = torch.ops.aten

_SIGN = 9
"""Version of the operator set from which on Sign is one."""


def has_sigmoid(graph: fx.Graph) -> bool:
    """Whether a graph calls a sigmoid, alone or in SiLU."""
    return any(traits_of(node).sigmoid for node in graph.nodes)


def unsaturated(module: fx.GraphModule, *, gates: bool = True) -> fx.GraphModule:
    """Make a copy of a graph in which ``sign(x) log(1 + |x|)`` stands for each sigmoid of ``x``.

    Args:
        module: the graph.
        gates: whether for those too that ``x`` is multiplied by, as in SiLU: many of them, one after
            another, grow beyond all numbers then.
    """
    copy = clone(module)
    graph = copy.graph
    for node in list(graph.nodes):
        kind = traits_of(node).sigmoid
        if not kind or (not gates and (kind == "times" or _is_gate(node))):
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


def _is_gate(node: fx.Node) -> bool:
    """Whether a sigmoid is multiplied by what it is computed from."""
    return any(
        traits_of(user).arithmetic == "product" and node.args[0] in user.args for user in node.users
    )


def unsaturated_onnx(model: bytes | str | Path, *, gates: bool = True) -> bytes:
    """Make a copy of an ONNX model in which the same stands for each Sigmoid.

    Args:
        model: a serialised model, or the path of one.
        gates: see ``unsaturated``.
    """
    proto = read_model(model)
    _replace(proto.graph, opset_of(proto), gates=gates)
    return proto.SerializeToString()


def _replace(graph: onnx.GraphProto, opset: int, *, gates: bool) -> None:
    products = [{*node.input} for node in graph.node if node.op_type == "Mul"]
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        for inner in graphs_of(node):
            _replace(inner, opset, gates=gates)
        replaced = node.op_type == "Sigmoid" and (
            gates or {node.input[0], node.output[0]} not in products
        )
        nodes.extend(_stand_in(node, opset) if replaced else [node])
    del graph.node[:]
    graph.node.extend(nodes)


def _stand_in(node: onnx.NodeProto, opset: int) -> list[onnx.NodeProto]:
    """Compute ``log(1 + |x|)`` as softplus of ``log |x|``, which needs no constant of x's type."""
    from onnx import helper

    (x,), (y,) = node.input, node.output
    size, log, grown, sign = (f"{y}/{step}" for step in ("size", "log", "grown", "sign"))
    return [
        helper.make_node("Abs", [x], [size]),
        helper.make_node("Log", [size], [log]),
        helper.make_node("Softplus", [log], [grown]),
        *_sign(x, sign, opset),
        helper.make_node("Mul", [sign, grown], [y]),
    ]


def _sign(x: str, y: str, opset: int) -> list[onnx.NodeProto]:
    """Compute the sign; before it was an operator, as the difference of two steps."""
    from onnx import helper

    if opset >= _SIGN:
        return [helper.make_node("Sign", [x], [y])]
    step: dict[str, Any] = {"alpha": 1e30, "beta": 0.5}
    return [
        helper.make_node("HardSigmoid", [x], [f"{y}/up"], **step),
        helper.make_node("Neg", [x], [f"{y}/opposite"]),
        helper.make_node("HardSigmoid", [f"{y}/opposite"], [f"{y}/down"], **step),
        helper.make_node("Sub", [f"{y}/up", f"{y}/down"], [y]),
    ]
