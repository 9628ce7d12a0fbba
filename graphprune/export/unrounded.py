"""Replace the rounding of quantised values by a function without steps, in a program and in an ONNX model alike.

A value that lies between two steps of 8 bits falls to either side, by the order of a sum, and all that follows from it
differs. With ``x + sin(2 pi x) / 4 pi`` in the place of rounding, what a quantised network computes can be compared
digit by digit, and still depends on the scale and on the ends of the range. ``onnx`` is imported where it is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import fx

from graphprune.ir.program import clone
from graphprune.ops import traits_of

from .node_reads import graphs_of
from .onnx_model import opset_of, read_model, stored_tensors

if TYPE_CHECKING:
    import onnx

__all__ = ["rounding_calls", "unrounded", "unrounded_onnx", "wave"]

aten = torch.ops.aten

_BOUNDS = frozenset({"int8", "uint8", "int16", "uint16", "int32"})
"""Types of quantised values whose bounds float32 can hold, or nearly."""

_HEIGHT = 1 / (4 * math.pi)
"""Of the wave, in steps: its slope is from 1/2 to 3/2 then, so that small differences stay small."""

_MOVES = frozenset({
    "Concat", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose",
    "Unsqueeze",
})  # fmt: skip
"""Operators that take floats where they take whole numbers, and hand them on."""

_LEAST_OPSET = 10
"""The operator set that QuantizeLinear came in."""


def rounding_calls(graph: fx.Graph) -> tuple[tuple[fx.Node, ...], tuple[fx.Node, ...]]:
    """List the calls that round, and those that need whole numbers of what these give: casts, statements of a type."""
    rounds: list[fx.Node] = []
    casts: list[fx.Node] = []
    steps: set[fx.Node] = set()  # values that were rounded, and shifted or clipped since
    for node in graph.nodes:
        if traits_of(node).rounds:
            rounds.append(node)
            steps.add(node)
        elif not steps.isdisjoint(node.all_input_nodes):
            traits, is_whole = traits_of(node), _is_whole(node)
            if (traits.identity and is_whole) or not node.users:
                casts.append(node)
            if is_whole or traits.arithmetic == "sum" or node.target is aten.clamp.default:
                steps.add(node)
    return tuple(rounds), tuple(casts)


def wave(x: torch.Tensor) -> torch.Tensor:
    """Compute ``x + sin(2 pi x) / 4 pi``."""
    return x + torch.sin(x * (2 * math.pi)) * _HEIGHT


def _is_whole(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and not value.is_floating_point()


def unrounded(module: fx.GraphModule) -> fx.GraphModule:
    """Make a copy of a graph in which ``x + sin(2 pi x) / 4 pi`` stands for each rounding of ``x``."""
    copy = clone(module)
    graph = copy.graph
    rounds, casts = rounding_calls(graph)
    for node in (*rounds, *casts):
        new = x = node.all_input_nodes[0]
        if node in rounds:
            with graph.inserting_before(node):
                new = graph.call_function(wave, (x,))
        node.replace_all_uses_with(new)
        graph.erase_node(node)
    copy.recompile()
    return copy


def unrounded_onnx(model: bytes | str | Path) -> bytes | None:
    """Make a copy of an ONNX model in which the same stands for the rounding of QuantizeLinear and Round.

    Args:
        model: a serialised model, or the path of one.

    Returns:
        ``None`` if rounded values have a scale for each row, or go to nodes that take no floats.
    """
    proto = read_model(model)
    graph = proto.graph
    writer = _Writer(graph)
    if opset_of(proto) < _LEAST_OPSET or not all(writer.write(node) for node in graph.node):
        return None
    if not writer.floats.isdisjoint(value.name for value in graph.output):
        return None
    del graph.node[:]
    graph.node.extend(writer.nodes)
    del graph.value_info[:]  # it states whole numbers where floats are now
    return proto.SerializeToString()


class _Writer:
    """Writer of the nodes of a graph without rounding.

    Attributes:
        nodes: those that were written.
        floats: names of quantised values that are floats now.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.floats: set[str] = set()
        self._graph = graph
        self._stored = stored_tensors(graph)

    def write(self, node: onnx.NodeProto) -> bool:
        """Write what stands for one node; whether there is such."""
        if graphs_of(node):
            return False
        if node.op_type == "QuantizeLinear":
            return self._quantize(node)
        reads = self.floats.intersection(node.input)
        if node.op_type == "DequantizeLinear" and reads:
            return self._dequantize(node)
        if reads:
            if node.op_type not in _MOVES or (node.op_type == "Concat" and reads != {*node.input}):
                return False
            self.floats.update(node.output)
        if node.op_type == "Round":
            self._wave(node.input[0], node.output[0])
        else:
            self.nodes.append(node)
        return True

    def _quantize(self, node: onnx.NodeProto) -> bool:
        """Write ``clip(round(x / scale) + zero_point)``, with a wave for the rounding."""
        zero = node.input[2] if len(node.input) > 2 else ""
        bounds = self._bounds(node, zero)
        if bounds is None or not self._has_one_scale(node.input[1]):
            return False
        name = node.output[0]
        steps = self._add("Div", node.input[:2], f"{name}/steps")
        last = self._wave(steps, f"{name}/wave")
        if zero:
            last = self._add("Add", [last, self._float(zero, name)], f"{name}/shifted")
        low, high = (
            self._store(number, f"{name}/{end}")
            for end, number in zip(("low", "high"), bounds, strict=True)
        )
        self._add("Min", [self._add("Max", [last, low], f"{name}/from"), high], name)
        self.floats.add(name)
        return True

    def _wave(self, x: str, output: str) -> str:
        """Write ``x + sin(2 pi x) / 4 pi``."""
        turn, height = (
            self._store(number, f"{output}/{name}")
            for name, number in (("turn", 2 * math.pi), ("height", _HEIGHT))
        )
        turned = self._add("Mul", [x, turn], f"{output}/turned")
        sine = self._add("Sin", [turned], f"{output}/sine")
        return self._add("Add", [x, self._add("Mul", [sine, height], f"{output}/small")], output)

    def _dequantize(self, node: onnx.NodeProto) -> bool:
        """Write ``(x - zero_point) * scale``."""
        if not self._has_one_scale(node.input[1]):
            return False
        name, last = node.output[0], node.input[0]
        if len(node.input) > 2 and node.input[2]:
            zero = self._float(node.input[2], name)
            last = self._add("Sub", [last, zero], f"{name}/centred")
        self._add("Mul", [last, node.input[1]], name)
        return True

    def _bounds(self, node: onnx.NodeProto, zero: str) -> tuple[int, int] | None:
        """Find the ends of the type that a node rounds to."""
        from onnx import helper

        types = [a.i for a in node.attribute if a.name == "output_dtype" and a.i]
        if zero:
            types = [self._stored[zero].data_type] if zero in self._stored else [0]
        kind = helper.tensor_dtype_to_np_dtype(types[0]).name if types and types[0] else ""
        kind = kind if types else "uint8"
        if kind not in _BOUNDS:
            return None
        limits = np.iinfo(kind)
        return int(limits.min), int(limits.max)

    def _has_one_scale(self, name: str) -> bool:
        from onnx import TensorProto

        stored = self._stored.get(name)
        if stored is None or stored.data_type != TensorProto.FLOAT:
            return False
        return math.prod(stored.dims) == 1

    def _float(self, name: str, reader: str) -> str:
        """Cast a stored zero point to a float, for one reader."""
        from onnx import numpy_helper

        return self._store(int(numpy_helper.to_array(self._stored[name]).item()), f"{reader}/zero")

    def _store(self, number: float, name: str) -> str:
        from onnx import numpy_helper

        self._graph.initializer.append(
            numpy_helper.from_array(np.asarray(number, np.float32), name)
        )
        return name

    def _add(self, operator: str, inputs: Sequence[str], output: str) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(operator, list(inputs), [output]))
        return output
