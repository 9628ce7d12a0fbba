"""Find the inputs of an ONNX graph whose batch stands behind the time steps."""

from __future__ import annotations

from .bodies import all_nodes
from .read_graph import Graph

__all__ = ["batch_axes"]

_RECURRENT = frozenset({"GRU", "LSTM", "RNN", "com.microsoft.DynamicQuantizeLSTM"})

_STATES = (0, 5, 6)
"""What of a recurrent layer's inputs has the batch on axis 1: the sequence, and the initial states."""

_KEEPS = frozenset({
    "Add", "Cast", "Clip", "Div", "Dropout", "Identity", "LayerNormalization", "LeakyRelu", "MatMul", "Mul",
    "Relu", "Sigmoid", "Sub", "Tanh",
})  # fmt: skip
"""Operators whose result has the leading axes of the first input, where the second one is stored."""


def batch_axes(graph: Graph) -> dict[str, int]:
    """Map each input to the axis of its batch: the first, unless recurrent layers take it as ``[steps, batch, in]``."""
    source = {each.name: each.name for each in graph.inputs}
    found = dict.fromkeys(source, 0)
    nodes = tuple(all_nodes(graph.nodes))
    made = {name for node in nodes if node.operator != "Constant" for name in node.outputs}
    for node in nodes:
        if node.operator in _KEEPS and node.inputs[0] in source:
            if not made.intersection(node.inputs[1:]):
                source[node.outputs[0]] = source[node.inputs[0]]
        elif node.operator in _RECURRENT and not node.get("layout", 0):
            read = [node.inputs[i] for i in _STATES if i < len(node.inputs)]
            found |= {source[name]: 1 for name in read if name in source}
    return found
