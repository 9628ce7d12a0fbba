"""Export an ONNX graph to an ExportedProgram, with its dynamic dimensions."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.export import ExportedProgram

from graphprune.errors import ExportError, GraphpruneError, LoadError, first_line
from graphprune.export.check import OnnxCheck, check_onnx
from graphprune.export.io_names import IONames
from graphprune.export.onnx_file import OnnxFile
from graphprune.export.open_sizes import FixedSize
from graphprune.ir.forward_errors import FORWARD_ERRORS
from graphprune.ir.program import dynamic_dims, input_nodes, unlift, user_inputs
from graphprune.ir.sizes import is_data_dependent, shape
from graphprune.ir.trace import silence_torch
from graphprune.loading.example_tensors import Example
from graphprune.verify.graph_runs import run
from graphprune.verify.inputs import native_inputs, size_growths

from .bodies import bodies_of, inner_nodes
from .examples import examples as example_inputs
from .network import Network
from .open_axes import attempts
from .other_inputs import other_inputs
from .read_graph import Graph, read_graph
from .trial_edit import find_uneditable
from .values import MAX_ELEMENTS

__all__ = ["Imported", "import_onnx"]


@dataclass(frozen=True)
class Imported:
    """A program that was read from an ONNX file.

    Attributes:
        program: the model as ATen calls.
        file: what is needed to write a cut into the file.
    """

    program: ExportedProgram
    file: OnnxFile


def import_onnx(
    path: Path, examples: Sequence[Example] = (), outputs: Sequence[str] = ()
) -> Imported:
    """Read an ONNX file, and check that the program computes the same as onnxruntime.

    Args:
        path: the file; weights that it keeps in other files must lie beside it or below.
        examples: example inputs, in order or by name, for a file that leaves sizes other than the
            batch open.
        outputs: names of those to keep, with what they need; by default all.

    Raises:
        OptionError: if there is no such output.
        LoadError: if it can't be read, or onnxruntime disagrees.
    """
    graph = read_graph(path, outputs)
    inputs = example_inputs(graph, examples)
    network = Network(graph, path.name).eval()
    found = _imported(network, graph, inputs, path)
    if not (network.whole.reasons or network.whole.followed):
        return found
    places = find_uneditable(found.program, found.file)
    if not places:
        return found
    nodes = [*graph.nodes, *inner_nodes(graph.nodes)]
    network.whole.kept.update({nodes[place].outputs: why for place, why in places.items()})
    network = Network(graph, path.name, network.whole).eval()
    found = _imported(network, graph, inputs, path)
    kept = {str(nodes[place]): why for place, why in places.items()}
    return replace(found, file=replace(found.file, kept=kept))


def _imported(
    network: Network, graph: Graph, inputs: tuple[torch.Tensor, ...], path: Path
) -> Imported:
    """Export a graph, and compare the program with onnxruntime."""
    program = _exported(network, graph, inputs)
    if any(map(bodies_of, graph.nodes)) and network.unread:
        # The weights of branches that aren't taken.
        network = Network(graph, path.name, network.whole, network.unread).eval()
        program = _exported(network, graph, inputs)
    _check_sizes(program, path)
    check = _prove(graph, program, path)
    dims = {
        (i, axis): name
        for i, each in enumerate(graph.inputs)
        for axis, name in enumerate(each.dims)
        if isinstance(name, str) and name
    }
    file = OnnxFile(
        data=graph.data,
        names=IONames(tuple(each.name for each in graph.inputs), graph.outputs, dims, graph.opset),
        tensors=network.paths,
        counts=network.counts(user_inputs(program)),
        check=check,
        whole=network.whole.reasons,
        choices=tuple(network.whole.followed.values()),
        left_out=graph.left_out,
        fixed=tuple(_fixed(graph, program)),
        shell=graph.shell,
        aside=graph.aside,
        copies=graph.copies,
    )
    return Imported(program, file)


def _fixed(graph: Graph, program: ExportedProgram) -> Iterator[FixedSize]:
    """List the sizes that the file leaves open, and the program fixes."""
    for i, (each, node) in enumerate(zip(graph.inputs, input_nodes(program), strict=True)):
        for axis, name in enumerate(each.dims):
            size = node.meta["val"].shape[axis]
            if isinstance(name, str) and isinstance(size, int):
                yield FixedSize(i, axis, name or f"axis {axis} of {each.name}", size)


def _prove(graph: Graph, program: ExportedProgram, path: Path) -> OnnxCheck:
    try:
        return check_onnx(graph.data, program)
    except ExportError as error:
        raise LoadError(
            f"{path.name} as it was read is not what onnxruntime computes: {error.message}",
            hint="bring the model as .pt2 or as PyTorch code",
        ) from error
    except FORWARD_ERRORS as error:
        raise LoadError(
            f"{path.name} fails on inputs like the examples: {first_line(error)}",
            hint="give example inputs that the model accepts",
            options=("input",),
        ) from error


def _exported(network: Network, graph: Graph, inputs: tuple[torch.Tensor, ...]) -> ExportedProgram:
    """Export with both branches of a computed choice, or else with nodes that choose as they are in the file."""
    try:
        return _open_exported(network, graph, inputs)
    except GraphpruneError:
        if not network.whole.followed:
            raise
        network.whole.forget()
        network.whole.followed.clear()
        network.whole.choices_whole = True
        return _open_exported(network, graph, inputs)


def _open_exported(
    network: Network, graph: Graph, inputs: tuple[torch.Tensor, ...]
) -> ExportedProgram:
    """Export with every dimension dynamic that the file leaves open, or else with fewer.

    The first refusal of a node leads to a trial: what no entry of the table computes stays whole.
    """
    failure: BaseException | None = None
    tried = bool(network.whole.reasons)
    ways = deque(attempts(graph, inputs))
    examples = {tuple(x.shape for x in way.inputs): way.inputs for way in reversed(ways)}
    while ways:
        attempt = ways.popleft()
        try:
            with silence_torch():
                program = torch.export.export(network, attempt.inputs, dynamic_shapes=attempt.dims)
                _run_larger(program)
                return program
        except (GraphpruneError, *FORWARD_ERRORS) as error:
            failure = failure if isinstance(failure, GraphpruneError) else error
        if isinstance(failure, GraphpruneError) and not tried:
            tried = True
            with network.whole.trial():
                failure = _try_nodes(network, graph, list(examples.values())) or failure
            if network.whole.reasons:
                ways.appendleft(attempt)
    if isinstance(failure, GraphpruneError):
        raise failure
    raise LoadError(f"the ONNX model can't be read: {first_line(failure)}") from failure


def _try_nodes(
    network: Network, graph: Graph, examples: Sequence[tuple[torch.Tensor, ...]]
) -> GraphpruneError | None:
    """Find the nodes that stay whole, with the sizes of their results.

    Args:
        network: runs the graph.
        graph: the file's.
        examples: ways to choose open sizes, of which not all need fit the network.

    Returns:
        Why none of the examples runs, if so.
    """
    failure: GraphpruneError | None = None
    for inputs in examples:
        try:
            network.try_nodes(inputs)
        except GraphpruneError as error:
            failure = failure or error
            network.whole.forget()
            continue
        if network.whole.reasons:
            for other in (*examples, *other_inputs(graph, inputs)):
                with suppress(GraphpruneError):  # these sizes may not fit the network
                    network.try_nodes(other)
        return None
    return failure


def _run_larger(program: ExportedProgram) -> None:
    """Run a program at larger sizes: torch.export doesn't notice all that only some sizes can do."""
    if not any(axis for dims in dynamic_dims(program).values() for axis in dims):
        return
    for grow in size_growths(program)[1:]:
        run(torch.fx.Interpreter(unlift(program)), native_inputs(program, grow, seed=0))


def _check_sizes(program: ExportedProgram, path: Path) -> None:
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor) or is_data_dependent(value):
            continue
        if math.prod(shape(node)) > MAX_ELEMENTS:
            raise LoadError(f"a result of {path.name} has {math.prod(shape(node)):.3g} elements")
