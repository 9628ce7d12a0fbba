"""Read the bytes of an ONNX file into a checked graph.

Nothing in the file is believed before it is checked. Sizes that the file states are compared with
the bytes that are there, so memory is bounded by the size of the files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from graphprune.errors import LoadError, first_line
from graphprune.export.aside import Aside
from graphprune.export.edit_onnx import shell_of
from graphprune.export.onnx_model import MAX_BYTES, opset_of
from graphprune.export.valid_onnx import check_valid

from .bodies import hoist
from .external_weights import byte_size, load_external
from .inline_functions import inline_functions
from .keep_outputs import keep_outputs
from .operators import Body, Node
from .separate_shared import separate_shared
from .set_aside import set_aside
from .sort_nodes import sort_nodes
from .sparse_weights import with_dense_weights

if TYPE_CHECKING:
    import onnx

__all__ = ["Graph", "Input", "read_graph"]


@dataclass(frozen=True)
class Input:
    """One input of an ONNX graph.

    Attributes:
        name: in the file.
        type: ONNX's number of its element type.
        dims: sizes; a name where it is dynamic, ``""`` where the file says nothing.
    """

    name: str
    type: int
    dims: tuple[int | str, ...]


@dataclass(frozen=True)
class Graph:
    """An ONNX model that was read and checked.

    Attributes:
        nodes: calls, each after those that it reads.
        weights: stored tensors by name.
        inputs: without those that are stored tensors too.
        outputs: names.
        opset: version of the operator set.
        data: the whole model as one message, weights inside.
        left_out: names of the outputs that were left out.
        shell: the model with calls of local functions, which are inlined in ``data``, without stored tensors.
        aside: outputs that were set aside, if any.
        copies: name of each copy of a stored tensor that has a reader of its own now -> name of the tensor.
    """

    nodes: tuple[Node, ...]
    weights: Mapping[str, NDArray[Any]]
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    opset: int
    data: bytes
    left_out: tuple[str, ...] = ()
    shell: bytes = b""
    aside: Aside | None = None
    copies: Mapping[str, str] = field(default_factory=dict[str, str])


def read_graph(path: Path, outputs: Sequence[str] = ()) -> Graph:
    """Read an ONNX file and check all that it states.

    Args:
        path: the file.
        outputs: names of those to keep, with what they need; by default all.

    Raises:
        OptionError: if there is no such output.
        LoadError: if it isn't one, states what isn't so, or holds what isn't supported.
    """
    model = _parse(path)
    load_external(model, path)
    with_dense_weights(model)
    sort_nodes(model.graph)
    _check(model, path)
    shell = b"" if outputs else shell_of(model)
    model = inline_functions(model)
    hoist(model.graph)
    left_out = keep_outputs(model, outputs) if outputs else ()
    aside = set_aside(model)
    copies = {} if shell else separate_shared(model.graph)
    weights = {t.name: _array(t) for t in model.graph.initializer}
    opset = opset_of(model)
    graph = Graph(
        nodes=tuple(_node(n, i, opset) for i, n in enumerate(model.graph.node)),
        weights=weights,
        inputs=tuple(_input(v) for v in model.graph.input if v.name not in weights),
        outputs=tuple(v.name for v in model.graph.output),
        opset=opset,
        data=model.SerializeToString(),
        left_out=left_out,
        shell=b"" if aside else shell,
        aside=aside,
        copies=copies,
    )
    if not graph.outputs or not graph.inputs:
        raise LoadError(f"{path.name} has no inputs or no outputs")
    return graph


def _parse(path: Path) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    if path.stat().st_size > MAX_BYTES:
        raise LoadError(f"{path.name} is larger than 2 GiB", hint="an ONNX file can't be")
    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except (DecodeError, OSError, RecursionError) as error:
        raise LoadError(f"{path.name} is not an ONNX file: {first_line(error)}") from error
    if not model.ir_version or not model.graph.node:
        raise LoadError(f"{path.name} is not an ONNX file, or holds no network")
    return model


def _check(model: onnx.ModelProto, path: Path) -> None:
    import onnx.checker

    try:
        check_valid(model)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise LoadError(f"{path.name} is not a valid ONNX model: {first_line(error)}") from error


def _array(tensor: onnx.TensorProto) -> NDArray[Any]:
    from onnx import numpy_helper

    # The checker compares the type with the field that is filled, not the sizes.
    if tensor.HasField("raw_data") and len(tensor.raw_data) != byte_size(tensor):
        raise LoadError(f"tensor {tensor.name!a:.80} doesn't hold as many elements as it says")
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, MemoryError, OverflowError) as error:
        raise LoadError(f"tensor {tensor.name!a:.80} can't be read: {first_line(error)}") from error


def _node(proto: onnx.NodeProto, position: int, opset: int) -> Node:
    name = proto.name or next((n for n in proto.output if n), f"number {position + 1}")
    kind = proto.op_type if proto.domain in {"", "ai.onnx"} else f"{proto.domain}.{proto.op_type}"
    return Node(
        kind,
        name,
        tuple(proto.input),
        tuple(proto.output),
        {a.name: _attribute(a, opset) for a in proto.attribute},
        opset,
    )


def _attribute(proto: onnx.AttributeProto, opset: int) -> Any:
    from onnx import helper

    if proto.HasField("t"):
        return _array(proto.t)
    if proto.HasField("g"):
        nodes = tuple(_node(n, i, opset) for i, n in enumerate(proto.g.node))
        names = tuple(v.name for v in proto.g.input), tuple(v.name for v in proto.g.output)
        return Body(nodes, *names)
    try:
        return helper.get_attribute_value(proto)
    except ValueError as error:
        raise LoadError(f"attribute {proto.name!a:.80} can't be read") from error


def _input(value: onnx.ValueInfoProto) -> Input:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        raise LoadError(f"input {value.name!a:.80} is not a tensor of a known number of axes")
    dims = tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else d.dim_param
        for d in kind.shape.dim
    )
    return Input(value.name, kind.elem_type, dims)
