"""Read ONNX models, tell their operator set, and rename their values.

``onnx`` is imported in the functions that need it, so that importing graphprune stays quick.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container
from pathlib import Path
from typing import TYPE_CHECKING

from .node_reads import graphs_of

if TYPE_CHECKING:
    import onnx

__all__ = [
    "MAX_BYTES",
    "drop_initializers",
    "numbered_name",
    "opset_of",
    "read_model",
    "rename_in_node",
    "rename_values",
    "stored_tensors",
]

MAX_BYTES = 2**31 - 2**24
"""Most bytes of a model with its weights: protobuf holds 2 GiB in one message, some of it for the graph itself."""


def read_model(model: bytes | str | Path) -> onnx.ModelProto:
    """Parse a serialised model, or read the file of one.

    Raises:
        DecodeError: if it is none.
    """
    import onnx

    return onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(model)


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operator set that a model asks for; 0 if it asks for none."""
    return next((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), 0)


def stored_tensors(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Map the names of stored tensors to these, whether initialisers or ``Constant`` nodes hold them."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value":
                found[node.output[0]] = attribute.t
    return found


def numbered_name(name: str, taken: Collection[str]) -> str:
    """Return the first of ``name/0``, ``name/1`` and so on that isn't taken."""
    return next(n for i in range(len(taken) + 1) if (n := f"{name}/{i}") not in taken)


def drop_initializers(graph: onnx.GraphProto, names: Container[str]) -> None:
    """Take stored tensors out of a graph, in place."""
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name in names:
            del graph.initializer[index]


def rename_values(graph: onnx.GraphProto, rename: Callable[[str], str]) -> None:
    """Rename the values of a graph and of the bodies in it, in place.

    Args:
        graph: what to change.
        rename: old name -> new name.
    """
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = rename(value.name)
    for node in graph.node:
        rename_in_node(node, rename)


def rename_in_node(node: onnx.NodeProto, rename: Callable[[str], str]) -> None:
    """Rename what a node reads and makes, in place, and the values of its bodies; see ``rename_values``."""
    node.input[:] = map(rename, node.input)
    node.output[:] = map(rename, node.output)
    for body in graphs_of(node):
        rename_values(body, rename)
