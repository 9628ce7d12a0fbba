"""Put an edited graph, in which local functions were written out, back into calls of these functions.

The file is read with all calls of local functions inlined. Where a cut changes nothing inside of them, such as
weights that are handed to a function, the calls stay as they were.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphprune.export.node_reads import graphs_of, nodes_of

if TYPE_CHECKING:
    import onnx

__all__ = ["WRITTEN_OUT", "shell_of", "with_functions"]

WRITTEN_OUT = (
    "local functions are written out in the ONNX file, since the cut changes what is inside of one"
)
"""What the report says where the calls can't stay."""


def shell_of(model: onnx.ModelProto) -> bytes:
    """Copy a model without its stored tensors; nothing if it has no local functions, or bodies beside them."""
    if not model.functions or any(map(graphs_of, nodes_of(model))):
        return b""
    shell = type(model)()
    for field, value in model.ListFields():
        if field.name != "graph":
            _set(shell, field.name, value)
    for field, value in model.graph.ListFields():
        if field.name != "initializer":
            _set(shell.graph, field.name, value)
    return shell.SerializeToString()


def with_functions(
    shell: bytes, inlined: onnx.ModelProto, edited: onnx.ModelProto
) -> onnx.ModelProto | None:
    """Write what was edited outside of functions into the model that calls them.

    Args:
        shell: the model with calls, without stored tensors.
        inlined: the same with the calls written out.
        edited: what became of that.

    Returns:
        The edited model with calls; ``None`` if a node of a function was edited, or a node is new or gone.
    """
    model = type(inlined).FromString(shell)
    calls = {(f.domain, f.name) for f in model.functions}
    own = {
        tuple(node.output): node
        for node in model.graph.node
        if (node.domain, node.op_type) not in calls
    }
    if len(inlined.graph.node) != len(edited.graph.node):
        return None
    for before, after in zip(inlined.graph.node, edited.graph.node, strict=True):
        if before == after:
            continue
        node = own.get(tuple(before.output))
        if node is None or node != before or before.output != after.output:
            return None
        node.CopyFrom(after)
    model.graph.initializer.extend(edited.graph.initializer)
    stored = {tensor.name: tensor.dims for tensor in edited.graph.initializer}
    for value in model.graph.input:  # old files list stored tensors as inputs too
        if value.name in stored:
            for dim, size in zip(
                value.type.tensor_type.shape.dim, stored[value.name], strict=False
            ):
                dim.dim_value = size
    del model.graph.value_info[:]
    return model


def _set(message: object, name: str, value: object) -> None:
    field = getattr(message, name)
    if hasattr(field, "extend"):
        field.extend(value)
    elif hasattr(field, "CopyFrom"):
        field.CopyFrom(value)
    else:
        setattr(message, name, value)
