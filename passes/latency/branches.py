"""One ONNX model with a branch for each width of a kernel, to be timed in onnxruntime.

A branch holds the kernel's operators and nothing else that is counted. Where a layer in the
network would read what another layer wrote, so does a branch: what comes before it is called
``before``, and its time is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from graphprune.plan.kernel_times import Kernel

if TYPE_CHECKING:
    import onnx

__all__ = ["branched", "weight_bytes"]

_OPSET = 20
_IR = 10

_VALUE = 0.01
"""Value of all weights, which makes no difference to the time."""


def branched(kernel: Kernel, points: Sequence[tuple[int, ...]]) -> bytes:
    """Make a serialised model with a branch for each point; operators of branch ``i`` are named ``b<i>_...``.

    Args:
        kernel: the kernel to run.
        points: widths to run it at, one for each width of the kernel. Unit: channels.
    """
    from onnx import helper

    graph = _Graph()
    for number, widths in enumerate(points):
        _branch(graph, f"b{number}_", kernel, widths)
    made = helper.make_graph(
        graph.nodes, "branches", list(graph.inputs.values()), graph.outputs, graph.weights
    )
    opset = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(made, opset_imports=opset, ir_version=_IR).SerializeToString()


def weight_bytes(kernel: Kernel, widths: tuple[int, ...]) -> int:
    """Estimate the bytes of weights and activations of one branch."""
    inner, outer = widths[0], widths[-1]
    values = dict(kernel.attributes)
    weights = inner * outer if len(widths) == 2 else inner
    if kernel.kind == "conv":
        groups, inner, outer = _conv_channels(widths, values)
        weights = inner // groups * outer * math.prod(int(k) for k in values["kernel"])
    return 4 * (weights + (inner + outer) * math.prod(s for s in kernel.shape if s))


@dataclass
class _Graph:
    """Parts of an ONNX graph that is being built."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    inputs: dict[str, onnx.ValueInfoProto] = field(default_factory=dict)
    outputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def source(self, shape: Sequence[int]) -> str:
        """Return the name of an input of a shape, which branches share."""
        from onnx import TensorProto, helper

        name = "x" + "x".join(map(str, shape))
        self.inputs.setdefault(name, helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def weight(self, name: str, *shape: int) -> str:
        """Add a stored tensor, and return its name."""
        from onnx import numpy_helper

        self.weights.append(numpy_helper.from_array(np.full(shape, _VALUE, np.float32), name))
        return name

    def add(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node that is named as its result, and return the name."""
        from onnx import helper

        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def end(self, name: str) -> None:
        """Make a value an output of the graph."""
        from onnx import TensorProto, helper

        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))


def _branch(graph: _Graph, prefix: str, kernel: Kernel, widths: tuple[int, ...]) -> None:
    values = dict(kernel.attributes)
    inner = _conv_channels(widths, values)[1] if kernel.kind == "conv" else widths[0]
    shape = [size or inner for size in kernel.shape]
    if kernel.kind == "conv":
        result = _conv(graph, prefix, graph.source(shape), widths, values)
    elif kernel.kind == "linear":
        result = _linear(graph, prefix, graph.source(shape), shape, widths)
    else:
        result = _plain(graph, prefix, kernel, shape, values)
    for number, (name, *numbers) in enumerate(kernel.tail):
        own = f"{prefix}{name}{number}"
        if name == "Add":
            other = _layer_before(graph, prefix, _out_shape(kernel, shape, widths, values))
            result = graph.add("Add", [result, other], own)
        else:
            result = _activation(graph, str(name), result, own, numbers)
    graph.end(result)


def _conv(
    graph: _Graph,
    prefix: str,
    source: str,
    widths: tuple[int, ...],
    values: dict[str, Any],
) -> str:
    groups, inner, outer = _conv_channels(widths, values)
    weight = graph.weight(f"{prefix}w", outer, inner // groups, *values["kernel"])
    return graph.add(
        "Conv", [source, weight, graph.weight(f"{prefix}b", outer)], f"{prefix}conv",
        group=groups, pads=values["padding"], strides=values["stride"], dilations=values["dilation"],
    )  # fmt: skip


def _conv_channels(widths: tuple[int, ...], values: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return the groups of a convolution, and its channels in and out."""
    if "per_group" in values:
        (groups,), each = widths, values["per_group"]
        return groups, groups * each[0], groups * each[-1]
    (groups,) = values["groups"]
    return groups, groups * widths[0], groups * widths[1]


def _linear(
    graph: _Graph, prefix: str, source: str, shape: Sequence[int], widths: tuple[int, ...]
) -> str:
    inner, outer = widths
    bias = f"{prefix}b"
    if len(shape) == 2:
        weight = graph.weight(f"{prefix}w", outer, inner)
        return graph.add(
            "Gemm", [source, weight, graph.weight(bias, outer)], f"{prefix}gemm", transB=1
        )
    weight = graph.weight(f"{prefix}w", inner, outer)
    product = graph.add("MatMul", [source, weight], f"{prefix}matmul")
    return graph.add("Add", [product, graph.weight(bias, outer)], f"{prefix}bias")


def _plain(
    graph: _Graph, prefix: str, kernel: Kernel, shape: Sequence[int], values: dict[str, Any]
) -> str:
    """Add an operator that keeps its channels, after a layer that fuses with its own activation and nothing else."""
    source = _layer_before(graph, prefix, shape)
    own = f"{prefix}own"
    if kernel.kind == "BatchNormalization":
        return graph.add(
            kernel.kind, [source, *(graph.weight(f"{own}{i}", shape[1]) for i in range(4))], own
        )
    if kernel.kind in ("Add", "Mul"):
        if "stretched" not in values:
            return graph.add(kernel.kind, [source, graph.weight(f"{own}number", 1)], own)
        small = [1 if flag else size for flag, size in zip(values["stretched"], shape, strict=True)]
        return graph.add(
            kernel.kind, [source, _layer_before(graph, f"{prefix}second_", small)], own
        )
    if kernel.kind == "mean":
        axes = f"{own}axes"
        from onnx import numpy_helper

        graph.weights.append(numpy_helper.from_array(np.array([2, 3]), axes))
        return graph.add("ReduceMean", [source, axes], own, keepdims=1)
    if kernel.kind in ("AveragePool", "MaxPool"):
        return graph.add(
            kernel.kind,
            [source],
            own,
            kernel_shape=values["kernel"],
            strides=values["stride"],
            pads=values["padding"],
            ceil_mode=values["ceil_mode"][0],
        )
    return _activation(graph, kernel.kind, source, own, values.get("values", ()))


def _activation(graph: _Graph, name: str, source: str, own: str, numbers: Sequence[Any]) -> str:
    if name == "Clip":
        from onnx import numpy_helper

        for limit, number in zip(("low", "high"), numbers, strict=True):
            graph.weights.append(
                numpy_helper.from_array(np.array(number, np.float32), f"{own}{limit}")
            )
        return graph.add(name, [source, f"{own}low", f"{own}high"], own)
    if name == "Swish":
        return graph.add("Mul", [source, graph.add("Sigmoid", [source], f"{own}gate")], own)
    if name == "LeakyRelu":
        return graph.add(name, [source], own, alpha=float(numbers[0]))
    return graph.add(name, [source], own)


def _layer_before(graph: _Graph, prefix: str, shape: Sequence[int]) -> str:
    """Add a value of a shape, in the memory layout in which layers leave their results."""
    name = f"before_{prefix}"
    if len(shape) != 4:
        return graph.source(shape)
    batch, width, *spatial = shape
    layer = graph.add(
        "Conv",
        [graph.source([batch, 4, *spatial]), graph.weight(f"{name}w", width, 4, 1, 1)],
        f"{name}conv",
    )
    return graph.add("Relu", [layer], f"{name}relu")


def _out_shape(
    kernel: Kernel, shape: Sequence[int], widths: tuple[int, ...], values: dict[str, Any]
) -> list[int]:
    if kernel.kind == "linear":
        return [*shape[:-1], widths[-1]]
    count = len(values["kernel"])
    spatial = [
        (
            size
            + values["padding"][i]
            + values["padding"][i + count]
            - values["dilation"][i] * (values["kernel"][i] - 1)
            - 1
        )
        // values["stride"][i]
        + 1
        for i, size in enumerate(shape[2:])
    ]
    return [shape[0], _conv_channels(widths, values)[2], *spatial]
