"""Export an ONNX graph to an ExportedProgram, with its dynamic dimensions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from graphprune.errors import ExportError, GraphpruneError, LoadError, first_line
from graphprune.export.check import OnnxCheck, check_onnx
from graphprune.export.io_names import IONames
from graphprune.export.onnx_file import OnnxFile
from graphprune.ir.nodes import is_data_dependent, shape
from graphprune.ir.trace import FORWARD_ERRORS, silence_torch
from graphprune.loading.argument_names import identifiers
from graphprune.loading.example_tensors import Example, in_order

from .index_ranges import index_ranges
from .network import Network
from .pointwise import DTYPES
from .read_graph import Graph, read_graph

__all__ = ["MAX_ELEMENTS", "Imported", "import_onnx"]

MAX_ELEMENTS = 1 << 28
"""Most elements of one result on the example inputs; a hostile file states larger ones at no cost."""

BATCH = 2
"""Example size of a dynamic leading dimension: torch.export takes 1 for a constant."""


@dataclass(frozen=True)
class Imported:
    """A program that was read from an ONNX file.

    Attributes:
        program: the model as ATen calls.
        file: what is needed to write a cut into the file.
    """

    program: ExportedProgram
    file: OnnxFile


def import_onnx(path: Path, examples: Sequence[Example] = ()) -> Imported:
    """Read an ONNX file, and check that the program computes the same as onnxruntime.

    Args:
        path: the file; weights that it keeps in other files must lie beside it or below.
        examples: example inputs, in order or by name, for a file that leaves sizes other than the
            batch open.

    Raises:
        LoadError: if it can't be read, or onnxruntime disagrees.
    """
    graph = read_graph(path)
    inputs = _examples(graph, examples)
    network = Network(graph, path.name).eval()
    program = _exported(network, graph, inputs)
    _check_sizes(program, path)
    check = _prove(graph, program, path)
    dims = {
        (i, axis): name
        for i, each in enumerate(graph.inputs)
        for axis, name in enumerate(each.dims)
        if isinstance(name, str) and name
    }
    inputs_ = tuple(each.name for each in graph.inputs)
    names = IONames(inputs_, graph.outputs, dims, graph.opset)
    return Imported(
        program, OnnxFile(graph.data, names, network.paths, network.counts(inputs), check)
    )


def _prove(graph: Graph, program: ExportedProgram, path: Path) -> OnnxCheck:
    try:
        return check_onnx(graph.data, program)
    except ExportError as error:
        raise LoadError(
            f"{path.name} as it was read is not what onnxruntime computes: {error.message}",
            hint="bring the model as .pt2 or as PyTorch code",
        ) from error


def _examples(graph: Graph, given: Sequence[Example]) -> tuple[torch.Tensor, ...]:
    if given:
        return _fitting(graph, in_order(given, [each.name for each in graph.inputs]))
    generator, rows = torch.Generator().manual_seed(0), index_ranges(graph)
    made = []
    for each in graph.inputs:
        sizes = [
            BATCH if axis == 0 and not isinstance(n, int) else n for axis, n in enumerate(each.dims)
        ]
        open_ = [n or "?" for n in sizes if not isinstance(n, int)]
        if open_:
            raise LoadError(
                f"input {each.name!a:.80} leaves sizes open: {', '.join(open_)[:80]}",
                hint="state them for each input, such as 1x3x224x224",
                options=("input",),
            )
        whole = [int(n) for n in sizes]
        if math.prod(whole) > MAX_ELEMENTS:
            raise LoadError(f"input {each.name!a:.80} is too large")
        dtype = _dtype(graph, each.name, each.type)
        made.append(
            torch.randn(whole, generator=generator).to(dtype)
            if dtype.is_floating_point
            else torch.randint(0, rows.get(each.name, 2), whole, generator=generator).to(dtype)
        )
    return tuple(made)


def _fitting(graph: Graph, given: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Check the given examples, and double the batch where it is 1 and may vary."""
    if len(given) != len(graph.inputs):
        raise LoadError(
            f"the ONNX model takes {len(graph.inputs)} inputs, not {len(given)}",
            options=("input",),
        )
    found = []
    for each, x in zip(graph.inputs, given, strict=True):
        pairs = list(zip(each.dims, x.shape, strict=False))
        if len(each.dims) != x.dim() or any(isinstance(n, int) and n != size for n, size in pairs):
            wanted = "x".join(str(n) or "?" for n in each.dims)
            raise LoadError(
                f"input {each.name!a:.80} has the shape {wanted}",
                hint="state sizes for what is open, and the file's own for the rest",
                options=("input",),
            )
        made = x.to(_dtype(graph, each.name, each.type))
        single = x.dim() > 0 and x.shape[0] == 1 and not isinstance(each.dims[0], int)
        found.append(torch.cat([made, made]) if single else made)
    return tuple(found)


def _dtype(graph: Graph, name: str, kind: int) -> torch.dtype:
    if (dtype := DTYPES.get(kind)) is None:
        raise LoadError(f"input {name!a:.80} has elements of a type that is not supported")
    return dtype


def _exported(network: Network, graph: Graph, inputs: tuple[torch.Tensor, ...]) -> ExportedProgram:
    """Export with every dimension dynamic that the file names, or else with fewer."""
    failure: BaseException | None = None
    for dims in _attempts(graph):
        try:
            with silence_torch():
                return torch.export.export(network, inputs, dynamic_shapes=dims)
        except GraphpruneError as error:
            failure = error
            if dims is None:
                raise
        except FORWARD_ERRORS as error:
            failure = error
    raise LoadError(f"the ONNX model can't be read: {first_line(failure)}") from failure


def _attempts(graph: Graph) -> list[Any]:
    """List the dynamic dimensions to try, best first.

    All that have no number, those beside the batch with bounds that torch infers, as a strided
    convolution needs a least size; only the batch; none.
    """
    named = sorted({n for each in graph.inputs for n in each.dims if isinstance(n, str) and n})
    symbols = dict(zip(named, identifiers(named), strict=True))
    dims = {name: Dim(symbols[name], min=1) for name in named}
    unnamed = Dim("batch_", min=1)

    def specs(*, leading_only: bool = False) -> tuple[Mapping[int, Any] | None, ...]:
        return tuple(
            {
                axis: Dim.AUTO if axis else dims[n] if n else unnamed
                for axis, n in enumerate(each.dims)
                if isinstance(n, str) and (axis == 0 or (n and not leading_only))
            }
            or None
            for each in graph.inputs
        )

    return [specs(), specs(leading_only=True), None]


def _check_sizes(program: ExportedProgram, path: Path) -> None:
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor) or is_data_dependent(value):
            continue
        if math.prod(shape(node)) > MAX_ELEMENTS:
            raise LoadError(f"a result of {path.name} has {math.prod(shape(node)):.3g} elements")
