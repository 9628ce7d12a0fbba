"""Convert between an ExportedProgram and the graph that all passes edit, a ``torch.fx.GraphModule``.

In the unlifted form parameters and buffers are ``get_attr`` nodes that carry their qualified
names, so a pass edits tensors and arguments with plain torch.fx. ``relift.py`` exports the
result again, which re-infers every shape and proves that the graph is still well formed.
"""

from __future__ import annotations

import hashlib
from operator import attrgetter
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from .dynamic_shapes import bounds, input_dims, shapes_by_parameter
from .inline_regions import inline_regions
from .nodes import shape, size_hint
from .private_torch import keep_codegen, pytree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import sympy

__all__ = [
    "call_arguments",
    "clone",
    "dynamic_dims",
    "fingerprint",
    "grown_shapes",
    "grown_symbols",
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

_GUARDS = "_guards_fn"
"""Name of the submodule with torch's own checks of a program's inputs."""


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
    for node in module.graph.find_nodes(op="call_function", target=torch.ops.aten.rms_norm.default):
        _make_epsilon_explicit(node)
    module.recompile()
    return module


def _make_epsilon_explicit(node: fx.Node) -> None:
    """Make explicit an epsilon that defaults to the dtype's, so that it is the same in float64."""
    value, (x, shape, weight, eps) = node.meta.get("val"), _rms_norm_arguments(node)
    if eps is None and isinstance(value, torch.Tensor) and value.dtype in _PRECISE:
        node.args, node.kwargs = (x, shape, weight, torch.finfo(value.dtype).eps), {}


def _rms_norm_arguments(node: fx.Node) -> tuple[Any, Any, Any, Any]:
    """List the four arguments of an RMSNorm, ``None`` for those left out."""
    given = dict(zip(("input", "normalized_shape", "weight", "eps"), node.args, strict=False))
    given |= node.kwargs
    return given["input"], given["normalized_shape"], given.get("weight"), given.get("eps")


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
    spec = getattr(module, "_in_spec", None)
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


_STEPS = (1, 2, 4, 8, 16, 32, 64)
"""By how much sizes beside the batch are tried larger: a pyramid takes multiples only."""


def grown_shapes(program: ExportedProgram, by: int) -> dict[str, tuple[int, ...]]:
    """Compute the shapes of inputs, by name, with symbolic sizes larger, within their bounds.

    Leading sizes grow by as much as is asked; others by the least power of two times that which the
    program's own conditions on its inputs allow, or not at all.

    Args:
        program: says what is symbolic.
        by: growth of leading sizes; 0 gives the shapes of the examples.
    """
    known = _grown.setdefault(program, {})
    if by not in known:
        known[by] = _with_sizes(program, by, _growth_beside(program, by))
    return known[by]


_grown: WeakKeyDictionary[ExportedProgram, dict[int, dict[str, tuple[int, ...]]]]
_grown = WeakKeyDictionary()
"""What ``grown_shapes`` found for a program, which isn't changed: its conditions are slow to look up."""


def _growth_beside(program: ExportedProgram, by: int) -> int:
    """Find by how much sizes that don't lead can grow, where leading ones grow by some number."""
    if by and any(dim for dims in dynamic_dims(program).values() for dim in dims):
        module = program.module()
        for step in _STEPS:
            if _admits(module, program, _with_sizes(program, by, by * step)):
                return by * step
    return 0


def grown_symbols(program: ExportedProgram, by: int) -> dict[sympy.Symbol, int]:
    """Compute the values of symbolic sizes in the shapes that ``grown_shapes`` gives."""
    shapes, values = grown_shapes(program, by), dict[Any, int]()
    for node in input_nodes(program):
        for size, number in zip(_sizes_of(node), shapes.get(node.name, ()), strict=True):
            if isinstance(size, torch.SymInt) and len(size.node.expr.free_symbols) == 1:
                symbol, slope, offset = _linear(size)
                values[symbol] = int((number - offset) / slope)
    return values


def _sizes_of(node: fx.Node) -> Sequence[int | torch.SymInt]:
    value = node.meta.get("val")
    return value.shape if isinstance(value, torch.Tensor) else ()


def _linear(size: torch.SymInt) -> tuple[sympy.Symbol, Any, Any]:
    """Take a size of one symbol apart: it is the symbol itself, or a multiple of it, and a number."""
    (symbol,) = size.node.expr.free_symbols
    slope, offset = (size.node.expr.coeff(symbol, power) for power in (1, 0))
    return symbol, slope, offset


def _with_sizes(program: ExportedProgram, leading: int, others: int) -> dict[str, tuple[int, ...]]:
    """Compute the shapes of inputs where symbolic sizes that lead, and others, are larger."""
    values: dict[sympy.Symbol, int] = {}
    nodes = [n for n in input_nodes(program) if isinstance(n.meta.get("val"), torch.Tensor)]
    for node in nodes:
        for dim, size in enumerate(node.meta["val"].shape):
            if isinstance(size, torch.SymInt) and len(size.node.expr.free_symbols) == 1:
                symbol, slope, offset = _linear(size)
                hint = int((size_hint(size) - offset) / slope)
                _, upper = bounds(symbol, program)
                grown = hint + (others if dim else leading)
                grown = grown if upper is None else max(hint, min(grown, upper))
                values[symbol] = max(values.get(symbol, 0), grown)
    return {
        node.name: tuple(
            size if isinstance(size, int) else int(size.node.expr.subs(values))
            for size in node.meta["val"].shape
        )
        for node in nodes
    }


def _admits(
    module: fx.GraphModule, program: ExportedProgram, shapes: Mapping[str, tuple[int, ...]]
) -> bool:
    """Whether inputs of some shapes meet the conditions that torch.export found."""
    # A module calls an input otherwise where its name is Python's, such as ``input``.
    placeholders = module.graph.find_nodes(op="placeholder")
    names = dict(zip(placeholders, input_names(program), strict=True))
    leaves = dict(zip(placeholders, user_inputs(program), strict=True))
    for call in module.graph.find_nodes(op="call_module", target=_GUARDS):
        tried = [
            x.new_empty(shapes[names[node]], device="meta") if isinstance(x, torch.Tensor) else x
            for node in call.args
            for x in [leaves[node]]
        ]
        try:
            module.get_submodule(_GUARDS)(*tried)
        except AssertionError:
            return False
    return True


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
        yield f"{node.op} {node.target if node.op != 'placeholder' else ''} {arguments} {size}"


def clone(module: fx.GraphModule) -> fx.GraphModule:
    """Copy a GraphModule: a graph and attributes of its own, the tensors shared."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    result = graph.graph_copy(module.graph, copies)
    graph.output(result).meta.update(module.graph.output_node().meta)
    keep_codegen(graph, module.graph)
    return fx.GraphModule(module, graph)
