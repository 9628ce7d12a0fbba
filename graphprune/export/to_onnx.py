"""Convert a program to an ONNX model, and check it with ``onnx.checker``.

``onnx`` is imported in the functions that need it, so that importing graphprune stays quick. What the model
computes is checked in ``check.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind

from graphprune.errors import ExportError
from graphprune.ir.keep_outputs import keep_outputs
from graphprune.ir.program import dynamic_dims
from graphprune.ir.program import input_names as program_inputs

from .convert import convert
from .onnx_model import MAX_BYTES, opset_of, rename_values
from .opset import OLDEST_WRITTEN, lowered
from .valid_onnx import check_model

if TYPE_CHECKING:
    import onnx

__all__ = ["to_onnx"]

_OUTPUT = "graphprune.output."
"""Prefix of the outputs' names while a model is converted; no operator has it."""


def to_onnx(
    program: ExportedProgram,
    *,
    input_names: Sequence[str],
    output_names: Sequence[str],
    opset: int | None = None,
    dims: Mapping[tuple[int, int], str] | None = None,
    optimised: bool = True,
) -> onnx.ModelProto:
    """Convert a program to ONNX.

    Args:
        program: what to convert; fold its BN first.
        input_names: names of the inputs, flattened, in calling order.
        output_names: names of the outputs, flattened.
        opset: version of the ONNX operator set; by default the one torch.onnx prefers.
        dims: (input, axis) -> name of a dynamic dimension.
        optimised: whether the exporter may simplify what it wrote.

    Returns:
        A model that ``onnx.checker`` accepts, with weights inside. Without a name for it, the
        first dynamic leading dimension is called ``batch``; another one ``<input>_dim<number>``.

    Raises:
        ExportError: if an operator has no ONNX form, if the version can't be met, if names
            don't fit, or if the model is too large for one file.
    """
    _check_size(program)
    signature = program.graph_signature
    inputs = _of_tensors(input_names, signature.input_specs, InputKind.USER_INPUT)
    outputs = _of_tensors(output_names, signature.output_specs, OutputKind.USER_OUTPUT)
    outputs = _distinct(outputs, inputs)
    temporary = [f"{_OUTPUT}{i}" for i in range(len(outputs))]
    model = convert(_without_numbers(program), inputs, temporary, opset, optimised=optimised)
    _rename_outputs(model, outputs)
    _rename_dims(model, _dim_names(program, input_names, dims or {}))
    _drop_traces(model)
    if opset is not None and opset < OLDEST_WRITTEN:
        model = lowered(model, opset)
    _check_model(model, inputs, outputs, opset)
    return model


def _check_size(program: ExportedProgram) -> None:
    tensors = (*program.state_dict.values(), *program.constants.values())
    size = sum(t.numel() * t.element_size() for t in tensors if isinstance(t, torch.Tensor))
    if size > MAX_BYTES:
        raise ExportError(
            f"the weights take {size / 2**30:.1f} GiB; an ONNX file holds 2 GiB",
            hint="leave out the ONNX file",
            options=("onnx",),
        )


def _of_tensors(names: Sequence[str], specs: Sequence[Any], kind: Any) -> list[str]:
    """Select the names of inputs or outputs that are tensors; ONNX has no others."""
    arguments = [spec.arg for spec in specs if spec.kind is kind]
    if len(names) != len(arguments):
        raise ExportError(f"{len(names)} names for {len(arguments)} inputs or outputs")
    pairs = zip(names, arguments, strict=True)
    return [name for name, argument in pairs if not isinstance(argument, ConstantArgument)]


def _without_numbers(program: ExportedProgram) -> ExportedProgram:
    """Leave out the outputs that are plain numbers or text, which torch.onnx takes for tensors."""
    arguments = [
        spec.arg
        for spec in program.graph_signature.output_specs
        if spec.kind is OutputKind.USER_OUTPUT
    ]
    fixed = [isinstance(arg, ConstantArgument) and arg.value is not None for arg in arguments]
    if not any(fixed) or all(fixed):
        return program
    return keep_outputs(program, [i for i, left_out in enumerate(fixed) if not left_out])


def _distinct(names: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Number names that are taken: of what is returned twice, or as it came in."""
    found: list[str] = []
    for name in names:
        choices = (name, *(f"{name}_{i}" for i in range(2, len(names) + len(taken) + 2)))
        found.append(next(c for c in choices if c not in (*taken, *found)))
    return found


def _dim_names(
    program: ExportedProgram, names: Sequence[str], given: Mapping[tuple[int, int], str]
) -> dict[str, str]:
    """Map each symbol of the program to the name to show."""
    found: dict[str, str] = {}
    order = list(program_inputs(program))
    dims = [
        (dim, position, symbol)
        for name, symbols in dynamic_dims(program).items()
        for position in [order.index(name)]
        for dim, symbol in symbols.items()
    ]
    for dim, position, symbol in sorted(dims):
        if symbol.isidentifier() and symbol not in found:
            batch = dim == 0 and "batch" not in found.values()
            usual = "batch" if batch else f"{names[position]}_dim{dim}"
            found[symbol] = given.get((position, dim), usual)
    return found


def _rename_outputs(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Give the outputs their names, and another one to inner values that have these.

    A program that was rewritten may use the name of an output for a value before it.
    """
    new = {f"{_OUTPUT}{i}": name for i, name in enumerate(names)}
    new |= {name: f"{name}.inner" for name in names}
    rename_values(model.graph, lambda name: new.get(name, name))


def _rename_dims(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Rename symbols wherever a size is an expression of them."""
    if not names:
        return
    symbol = re.compile(r"\b(" + "|".join(map(re.escape, names)) + r")\b")
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = symbol.sub(lambda match: names[match[0]], dim.dim_param)


def _drop_traces(model: onnx.ModelProto) -> None:
    """Remove torch's debugging notes: they hold source lines and paths of this machine."""
    graph = model.graph
    values: Iterable[Any] = (
        *graph.input, *graph.output, *graph.value_info, *graph.initializer, *graph.node,
        *model.functions, graph, model,
    )  # fmt: skip
    for value in values:
        del value.metadata_props[:]


def _check_model(
    model: onnx.ModelProto, inputs: Sequence[str], outputs: Sequence[str], opset: int | None
) -> None:
    check_model(model, shapes=True)
    values = model.graph.input, model.graph.output
    got = tuple([value.name for value in side] for side in values)
    if got != (list(inputs), list(outputs)):
        raise ExportError(f"the ONNX model has the inputs and outputs {got}")
    if opset is not None and opset_of(model) != opset:
        raise ExportError(
            f"this model can't be expressed in opset {opset}, only in {opset_of(model)}",
            hint="ask for another opset, or for none",
            options=("opset",),
        )
