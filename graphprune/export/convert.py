"""Convert a program with torch.onnx, around what it and onnxruntime get wrong.

The exporter fails where it infers other strides for the result of an attention than torch.export did, on which a view depends.
Its optimiser takes numbers below 1e-8 for zero, such as an epsilon that keeps a logarithm finite. onnxruntime fuses a
padding by zeros into the maximum pooling behind it, which pads by minus infinity: the two differ where all is negative.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.export import ExportedProgram

from graphprune.errors import ExportError, innermost
from graphprune.ir.keep_axes import KEEP_AXES

from .onnx_model import stored_tensors
from .opset import OLDEST_WRITTEN

if TYPE_CHECKING:
    import onnx

__all__ = ["convert"]

aten = torch.ops.aten

# The exporter logs what it can't know matters: torchvision is absent, a version is converted.
_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir")


def convert(
    program: ExportedProgram,
    inputs: Sequence[str],
    outputs: Sequence[str],
    opset: int | None,
    *,
    optimised: bool = True,
) -> onnx.ModelProto:
    """Convert a program to an ONNX model, which isn't checked.

    Args:
        program: it isn't changed.
        inputs: names of the inputs.
        outputs: names of the outputs.
        opset: version of the operator set, if one is wanted.
        optimised: whether the exporter may simplify what it wrote.

    Raises:
        ExportError: if torch.onnx fails.
    """
    try:
        return _converted(program, inputs, outputs, opset, optimised=optimised)
    except torch.onnx.OnnxExporterError as first:
        failure = first
    if any(map(_is_attention, program.graph.nodes)):
        try:
            laid_out = _with_contiguous_attention(program)
            return _converted(laid_out, inputs, outputs, opset, optimised=optimised)
        except torch.onnx.OnnxExporterError:
            pass  # attention was not the trouble: the first error counts
    raise ExportError(
        f"torch.onnx can't convert this model: {innermost(failure)}",
        hint="leave out the ONNX file, or replace the operator in the model",
        options=("onnx",),
    ) from failure


def _converted(
    program: ExportedProgram,
    inputs: Sequence[str],
    outputs: Sequence[str],
    opset: int | None,
    *,
    optimised: bool,
) -> onnx.ModelProto:
    # A pass of the exporter runs the program, and torch has no gradients of some operators on complex numbers.
    with _quiet(), torch.no_grad():
        converted = torch.onnx.export(
            program,
            (),
            dynamo=True,
            verbose=False,
            opset_version=None if opset is None else max(opset, OLDEST_WRITTEN),
            input_names=list(inputs),
            output_names=list(outputs),
            optimize=optimised,
            custom_translation_table={
                torch.ops.prims.view_of.default: _as_it_is,
                KEEP_AXES: _as_it_is,
            },
        )
    if converted is None:
        raise ExportError("torch.onnx returned no model")
    model = converted.model_proto
    _part_pads_from_pools(model.graph)
    return model


def _as_it_is(x: Any, *more: Any) -> Any:
    """Translate ``view_of``, which the exporter makes of a squeeze of no axis and then doesn't know, and ``keep_axes``."""
    from onnxscript import opset18

    return opset18.Identity(x)


def _part_pads_from_pools(graph: onnx.GraphProto) -> None:
    """Pad by the smallest number above zero before a maximum pooling, so that onnxruntime doesn't fuse the two."""
    import numpy as np
    from onnx import numpy_helper

    pooled = {node.input[0] for node in graph.node if node.op_type == "MaxPool"}
    stored = stored_tensors(graph)
    for node in graph.node:
        modes = [attribute.s for attribute in node.attribute if attribute.name == "mode"]
        if (
            node.op_type != "Pad"
            or node.output[0] not in pooled
            or modes not in ([], [b"constant"])
        ):
            continue
        if len(node.input) < 3 or node.input[2] not in stored:
            continue
        value = numpy_helper.to_array(stored[node.input[2]])
        if value.dtype.kind == "f" and not value.any():
            least = np.full_like(value, np.finfo(value.dtype).smallest_subnormal)
            name = f"{node.output[0]}.padding"
            graph.initializer.append(numpy_helper.from_array(least, name))
            node.input[2] = name


@contextmanager
def _quiet() -> Generator[None]:
    """Suppress log lines and warnings that a user can't act on."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            # torch copies its own tree specification, which warns of its own deprecation.
            warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _is_attention(node: torch.fx.Node) -> bool:
    return node.target is aten.scaled_dot_product_attention.default


def _with_contiguous_attention(program: ExportedProgram) -> ExportedProgram:
    """Copy a program, with the result of each attention laid out as a tensor usually is."""
    with _quiet():
        program = copy.deepcopy(program)
    graph = program.graph
    for node in filter(_is_attention, list(graph.nodes)):
        with graph.inserting_after(node):
            copied = graph.call_function(aten.clone.default, (node,))
        copied.kwargs = {"memory_format": torch.contiguous_format}
        copied.meta = {**node.meta, "val": node.meta["val"].contiguous()}
        node.replace_all_uses_with(copied, lambda user, own=copied: user is not own)
    program.graph_module.recompile()
    return program
