"""Rewrite an ONNX model in an older operator set, for software that knows no newer one.

torch.onnx writes opset 18 or newer, and the converters of the ``onnx`` package turn back at operators
that only gained types, such as Relu. Between two sets an operator keeps its meaning or changes its
form: sizes that are inputs now were attributes once. The result is checked against the schemas of
the older set, and the caller compares what it computes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

from graphprune.errors import ExportError

from .onnx_model import opset_of, stored_tensors

if TYPE_CHECKING:
    import onnx

__all__ = ["OLDEST_WRITTEN", "lowered"]

OLDEST_WRITTEN = 18
"""The oldest operator set that torch.onnx writes itself."""

_BECAME_INPUTS: Mapping[str, tuple[int, tuple[str, ...]]] = {
    # operator: (since which set, the attributes that became inputs 1, 2, ...)
    "Clip": (11, ("min", "max")),
    "Pad": (11, ("pads", "value")),
    "ReduceL1": (18, ("axes",)),
    "ReduceL2": (18, ("axes",)),
    "ReduceLogSum": (18, ("axes",)),
    "ReduceLogSumExp": (18, ("axes",)),
    "ReduceMax": (18, ("axes",)),
    "ReduceMean": (18, ("axes",)),
    "ReduceMin": (18, ("axes",)),
    "ReduceProd": (18, ("axes",)),
    "ReduceSum": (13, ("axes",)),
    "ReduceSumSquare": (18, ("axes",)),
    "Slice": (10, ("starts", "ends", "axes")),
    "Split": (13, ("split",)),
    "Squeeze": (13, ("axes",)),
    "TopK": (10, ("k",)),
    "Unsqueeze": (13, ("axes",)),
}
_SCALARS = {"min", "max", "value", "k"}
_IMPLIED = {("Reshape", "allowzero"), ("Split", "num_outputs")}
"""Attributes that the older set infers: the number of outputs; that a size of 0, of an empty batch, is copied."""


def lowered(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Rewrite a model in an older operator set; the result is not checked yet.

    Raises:
        ExportError: if an operator isn't in that set, or is used in a form that isn't.
    """
    from onnx import helper

    result, current = copy.deepcopy(model), opset_of(model)
    constants = stored_tensors(result.graph)
    for node in result.graph.node:
        _lower(node, current, opset, constants)
    del result.opset_import[:]
    result.opset_import.append(helper.make_opsetid("", opset))
    # Weights that are no inputs need version 4 of the file format.
    try:
        result.ir_version = max(4, helper.find_min_ir_version_for(list(result.opset_import)))
    except ValueError as error:
        raise _cannot("the set", opset, "has no version of the file format") from error
    _drop_unread(result)
    return result


def _lower(
    node: onnx.NodeProto, current: int, opset: int, constants: Mapping[str, onnx.TensorProto]
) -> None:
    import onnx.defs

    name = node.op_type
    if node.domain or any(a.HasField("g") for a in node.attribute):
        raise _cannot(name, opset, "is not plain ONNX")
    try:
        old = onnx.defs.get_schema(name, opset)
    except onnx.defs.SchemaError as error:
        raise _cannot(name, opset, "is newer") from error
    since, attributes = _BECAME_INPUTS.get(name, (0, ()))
    if opset < since:
        _inputs_to_attributes(node, attributes, constants, opset)
    new = onnx.defs.get_schema(name, current)
    kept = [a for a in node.attribute if a.name in old.attributes]
    for attribute in node.attribute:
        if attribute.name in old.attributes or (name, attribute.name) in _IMPLIED:
            continue
        if attribute != new.attributes[attribute.name].default_value:
            raise _cannot(name, opset, f"has no {attribute.name} there")
    del node.attribute[:]
    node.attribute.extend(kept)
    if len(node.input) > old.max_input:
        raise _cannot(name, opset, "takes fewer inputs there")


def _inputs_to_attributes(
    node: onnx.NodeProto,
    attributes: tuple[str, ...],
    constants: Mapping[str, onnx.TensorProto],
    opset: int,
) -> None:
    from onnx import helper, numpy_helper

    values = list(node.input)[1:]
    for attribute, value in zip(attributes, values, strict=False):
        if not value:
            continue
        if value not in constants:
            raise _cannot(node.op_type, opset, f"has to know its {attribute} there")
        numbers = numpy_helper.to_array(constants[value]).reshape(-1).tolist()
        node.attribute.append(
            helper.make_attribute(attribute, numbers[0] if attribute in _SCALARS else numbers)
        )
    if len(values) > len(attributes):
        raise _cannot(node.op_type, opset, "takes fewer inputs there")
    del node.input[1:]


def _drop_unread(model: onnx.ModelProto) -> None:
    """Remove constants that became attributes."""
    read = {name for node in model.graph.node for name in node.input}
    read |= {value.name for value in model.graph.output}
    weights = [t for t in model.graph.initializer if t.name in read]
    nodes = [n for n in model.graph.node if n.op_type != "Constant" or n.output[0] in read]
    del model.graph.initializer[:]
    del model.graph.node[:]
    model.graph.initializer.extend(weights)
    model.graph.node.extend(nodes)


def _cannot(name: str, opset: int, why: str) -> ExportError:
    return ExportError(
        f"this model can't be expressed in opset {opset}: {name} {why}",
        hint="ask for another opset, or for none",
        options=("opset",),
    )
