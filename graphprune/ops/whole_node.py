"""Nodes of an ONNX file that run whole in onnxruntime: what they touch stays, but for rows that go through one by one."""

from __future__ import annotations

import math

import torch

from graphprune.axes.labels import unlabelled
from graphprune.axes.layout import Layout
from graphprune.ir.observed_sizes import ObservedRun
from graphprune.ir.whole_node import WHOLE_NODE, node_macs, packed, row_axis, run_in_float64

from .call import Call
from .registry import Sample, rule, sample

__all__: list[str] = []


def _sample() -> Sample:
    """A node that is computed of two tensors, and one of its two results."""
    from onnx import TensorProto, helper

    node = helper.make_node("TopK", ["x", "k"], ["values", "places"])
    kinds = {"x": TensorProto.FLOAT, "k": TensorProto.INT64}
    made = {"values": TensorProto.FLOAT, "places": TensorProto.INT64}
    graph = helper.make_graph(
        [node],
        "node",
        [helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in made.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    run = ObservedRun(((2, 6), (1,)), ((2, 3), (2, 3)))
    text = packed(model, "TopK node 'best'", [run])
    return sample([torch.randn(2, 6), torch.tensor([3])], text, free=False)


def _by_rows() -> Sample:
    """A node that computes each channel of its input on its own."""
    from onnx import TensorProto, helper

    node = helper.make_node("LpPool", ["x"], ["y"], kernel_shape=[2], p=3)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy")
    graph = helper.make_graph([node], "node", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    text = packed(model, "LpPool node 'p'", [ObservedRun(((2, 6, 5),), ((2, 6, 4),))], rows=1)
    return sample([torch.randn(2, 6, 5)], text)


@rule(WHOLE_NODE, samples=lambda: [_sample(), _by_rows()], in_float64=run_in_float64)
def whole_node(call: Call) -> list[Layout]:
    """Keep every row of what the node reads and of what it makes, but for those that it computes each on its own."""
    call.facts.because = "is run whole in onnxruntime, as the file has it"
    rows = row_axis(call["model"])
    inputs = call.layouts("inputs")
    through = None if rows is None else inputs[0][rows]
    results = [
        tuple(
            through
            if through is not None and dim == rows
            else call.fresh(size, (number, dim))
            if size > 1
            else unlabelled(size)
            for dim, size in enumerate(sizes)
        )
        for number, sizes in enumerate(call.out_shapes)
    ]
    touched = [axis for layout in inputs for axis in layout if axis.shape[1]]
    sizes = [[len(axis) for axis in layout] for layout in inputs]
    if macs := node_macs(call["model"], sizes):
        # All these axes stay as long as they are, so it is a number.
        call.macs(macs / math.prod(map(len, touched)), *touched)
    # A result that follows from stored tensors alone isn't stored instead: the node stays in the file.
    for number, layout in enumerate((*inputs, *results)):
        for dim, axis in enumerate(layout):
            if dim != rows or 0 < number < len(inputs):
                call.labels.freeze(axis, call.link)
    return results
