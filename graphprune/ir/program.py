"""Convert between an ExportedProgram and the graph that all passes edit, a ``torch.fx.GraphModule``.

In the unlifted form parameters and buffers are ``get_attr`` nodes that carry their qualified
names, so a pass edits tensors and arguments with plain torch.fx. ``relift.py`` exports the
result again, which re-infers every shape and proves that the graph is still well formed.
"""

from __future__ import annotations

import hashlib
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from .dynamic_shapes import input_dims, shapes_by_parameter
from .inline_regions import inline_regions
from .nodes import bind, called_name
from .private_torch import input_spec, keep_codegen, pytree
from .sizes import shape
from .unused_calls import drop_unused_calls

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "call_arguments",
    "clone",
    "dynamic_dims",
    "fingerprint",
    "input_names",
    "input_nodes",
    "lift",
    "output_names",
    "state",
    "unguarded",
    "unlift",
    "user_inputs",
]

_PRECISE = (torch.float32, torch.float64)


def unguarded(program: ExportedProgram) -> fx.GraphModule:
    """Make the program a module without torch's own checks of its inputs."""
    module: Any = program.module(check_guards=False)
    module.validate_inputs = False
    return module


def unlift(program: ExportedProgram) -> fx.GraphModule:
    """Convert a program to a GraphModule whose parameters are ``get_attr`` nodes.

    The tensors are shared with ``program``: replace them, never write into them.
    """
    module = unguarded(program)
    inline_regions(module)
    drop_unused_calls(module)
    for node in module.graph.find_nodes(op="call_function", target=torch.ops.aten.rms_norm.default):
        _make_epsilon_explicit(node)
    module.recompile()
    return module


def _make_epsilon_explicit(node: fx.Node) -> None:
    """Make explicit an epsilon that defaults to the dtype's, so that it is the same in float64."""
    value, call = node.meta.get("val"), bind(node)
    if call["eps"] is None and isinstance(value, torch.Tensor) and value.dtype in _PRECISE:
        call["eps"] = torch.finfo(value.dtype).eps
        node.args, node.kwargs = tuple(call.values()), {}


def lift(module: fx.GraphModule) -> ExportedProgram:
    """Export an unlifted graph that isn't tied to a program; inputs are read off its metadata."""
    placeholders = module.graph.find_nodes(op="placeholder")
    names: dict[str, Any] = {}
    inputs, shapes = [], []
    for node in placeholders:
        value = node.meta["val"]
        is_tensor = isinstance(value, torch.Tensor)
        inputs.append(torch.zeros(shape(node), dtype=value.dtype) if is_tensor else value)
        shapes.append(input_dims(node, None, names))
    spec = input_spec(module)
    if spec is None:
        return torch.export.export(module, tuple(inputs), dynamic_shapes=tuple(shapes))
    args, kwargs = pytree.tree_unflatten(inputs, spec)
    by_position, by_name = pytree.tree_unflatten(shapes, spec)
    return torch.export.export(
        module, args, kwargs, dynamic_shapes=shapes_by_parameter(module, by_position, by_name)
    )


def input_nodes(program: ExportedProgram) -> list[fx.Node]:
    """List the nodes of the user's inputs, flattened, in graph order."""
    names = set(input_names(program))
    return [n for n in program.graph.nodes if n.op == "placeholder" and n.name in names]


def input_names(program: ExportedProgram) -> tuple[str, ...]:
    """List the names of the user's inputs, flattened, in calling order, constants included."""
    specs = program.graph_signature.input_specs
    return tuple(str(spec.arg.name) for spec in specs if spec.kind is InputKind.USER_INPUT)


def output_names(program: ExportedProgram) -> tuple[str, ...]:
    """List the names of the user's outputs, flattened."""
    return tuple(str(name) for name in program.graph_signature.user_outputs)


def user_inputs(program: ExportedProgram) -> list[Any]:
    """List the program's example inputs, flattened, in the order of ``input_names``."""
    return list(pytree.tree_leaves(program.example_inputs))


def call_arguments(program: ExportedProgram, leaves: Sequence[Any]) -> tuple[Any, Any]:
    """Arrange flat inputs as the program's positional and keyword arguments."""
    _, spec = pytree.tree_flatten(program.example_inputs)
    return pytree.tree_unflatten(list(leaves), spec)


def dynamic_dims(program: ExportedProgram) -> dict[str, dict[int, str]]:
    """Map the name of each input to its dynamic dimensions: {dimension: name of the symbolic size}."""
    dims: dict[str, dict[int, str]] = {}
    for node in input_nodes(program):
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            sizes = enumerate(value.shape)
            symbols = {i: str(s) for i, s in sizes if isinstance(s, torch.SymInt)}
            dims |= {node.name: symbols} if symbols else {}
    return dims


def state(module: fx.GraphModule) -> Mapping[str, torch.Tensor]:
    """Collect the tensors that ``get_attr`` nodes read, by qualified name, in graph order."""
    nodes = module.graph.find_nodes(op="get_attr")
    return {
        node.target: tensor
        for node in nodes
        if (tensor := _attribute(module, node.target)) is not None
    }


def _attribute(module: torch.nn.Module, name: str) -> torch.Tensor | None:
    value = attrgetter(name)(module)
    return value if isinstance(value, torch.Tensor) else None


def fingerprint(module: fx.GraphModule) -> str:
    """Hash the architecture: operators, arguments and shapes, no tensor values."""
    digest = hashlib.sha256()
    for line in _architecture(module):
        digest.update(line.encode())
        digest.update(b"\n")
    return f"sha256:{digest.hexdigest()}"


def _architecture(module: fx.GraphModule) -> Iterator[str]:
    numbers: dict[fx.Node, int] = {}
    tensors = state(module)
    for node in module.graph.nodes:
        if node.op == "get_attr" and not node.users:
            continue
        numbers[node] = len(numbers)
        arguments = fx.map_arg((node.args, node.kwargs), lambda n: f"%{numbers[n]}")  # type: ignore[arg-type,return-value]
        size = tuple(tensors[node.target].shape) if node.target in tensors else ()
        target = called_name(node) if node.op != "placeholder" else ""
        yield f"{node.op} {target} {arguments} {size}"


def clone(module: fx.GraphModule) -> fx.GraphModule:
    """Copy a GraphModule: a graph and attributes of its own, the tensors shared."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    result = graph.graph_copy(module.graph, copies)
    graph.output(result).meta.update(module.graph.output_node().meta)
    keep_codegen(graph, module.graph)
    return fx.GraphModule(module, graph)
