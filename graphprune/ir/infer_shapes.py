"""Make a program of an edited graph by inferring its shapes anew, without tracing it again.

Every call runs on fake tensors, in the sizes of the examples and in larger ones, which shows that the calls
fit together, in a tenth of the time of an export. Nothing is assumed of dynamic sizes that the program didn't
assume: where a call needs more, the graph has to be exported.
"""

from __future__ import annotations

import logging
import operator
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.exported_program import ModuleCallEntry, ModuleCallSignature
from torch.export.graph_signature import (
    ConstantArgument,
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    SymBoolArgument,
    SymFloatArgument,
    SymIntArgument,
    TensorArgument,
)

from graphprune.errors import GraphpruneError

from .nodes import evaluate, is_data_dependent
from .private_torch import FakeTensorMode, OpOverload, enable_python_dispatcher, pytree
from .program import dynamic_dims, grown_symbols, state
from .trace import FORWARD_ERRORS, silence_torch
from .trial_sizes import TrialSizes, generalised

if TYPE_CHECKING:
    import sympy

__all__ = ["infer_shapes"]

logger = logging.getLogger(__name__)

_STORED = {
    InputKind.PARAMETER: "p",
    InputKind.BUFFER: "b",
    InputKind.CONSTANT_TENSOR: "c",
}
"""Kinds of stored tensors, with what torch.export begins their names by."""

_SYMBOLIC = {
    torch.SymInt: SymIntArgument,
    torch.SymFloat: SymFloatArgument,
    torch.SymBool: SymBoolArgument,
}


def infer_shapes(
    module: fx.GraphModule, like: ExportedProgram, examples: Any
) -> ExportedProgram | None:
    """Make the program of an edited graph, in the dynamic sizes of the one that it was made from.

    Args:
        module: the graph, unlifted; not changed. Tensors are shared with it.
        like: the program that it was made from.
        examples: the positional and keyword inputs that the new program carries.

    Returns:
        The program; ``None`` where a call fails, sizes depend on values, there are graphs within the graph, or
        more would have to be assumed of the dynamic sizes than ``like`` assumes.
    """
    mode = _fake_mode(like)
    if mode is None or not _is_plain(module, like):
        return None
    graph, inputs = _lifted(module, like, mode)
    try:
        with silence_torch(), _as_exported(), _nothing_assumed(mode):
            _infer(graph, mode, [TrialSizes(values) for values in _trials(like)])
    except (GraphpruneError, *FORWARD_ERRORS) as error:  # nodes of files know few sizes
        logger.info("the shapes of an edited graph can't be inferred: %s", error)
        return None
    graph.eliminate_dead_code()
    return _program(module, like, graph, inputs, examples)


@contextmanager
def _as_exported() -> Generator[None]:
    """Choose kernels as torch.export does: not by conditions on sizes, such as a batch that is large."""
    backends = (torch.backends.mkldnn, torch.backends.nnpack)
    enabled = [backend.set_flags(False)[0] for backend in backends]
    try:
        with torch.no_grad():
            yield
    finally:
        for backend, flag in zip(backends, enabled, strict=True):
            backend.set_flags(flag)


def _trials(program: ExportedProgram) -> list[Mapping[sympy.Symbol, int]]:
    """Choose values of the dynamic sizes for trial runs: those of the examples, and others."""
    return [grown_symbols(program, by) for by in ((0, 1) if dynamic_dims(program) else (0,))]


def _infer(graph: fx.Graph, mode: FakeTensorMode, trials: Sequence[TrialSizes]) -> None:
    """Note what every call gives.

    Calls run on fake tensors of plain sizes, once for each trial, which is fast. Where a size is a plain one, or
    the one that stood there before is right in every trial, that is it. What remains runs in symbolic sizes.
    """
    for node in graph.nodes:
        if node.op == "placeholder":
            for trial in trials:
                trial.enter(node)
        elif node.op == "call_function":
            results = [trial.run(node) for trial in trials]
            with mode:
                value = generalised(node.meta.get("val"), results, trials)
            node.meta["val"] = _symbolic(node, mode) if value is None else value


def _symbolic(node: fx.Node, mode: FakeTensorMode) -> Any:
    """Run a call in symbolic sizes."""
    with mode, enable_python_dispatcher():
        found = evaluate(node, lambda n: n.meta["val"])
        return pytree.tree_map_only(torch.Tensor, torch.Tensor.detach, found)


def _nothing_assumed(mode: FakeTensorMode) -> AbstractContextManager[Any]:
    """Refuse what would add to the conditions on dynamic sizes."""
    return nullcontext() if mode.shape_env is None else mode.shape_env.error_on_new_guards()


def _fake_mode(program: ExportedProgram) -> FakeTensorMode | None:
    """Find the mode of the fake tensors that state a program's shapes."""
    values = (node.meta.get("val") for node in program.graph.find_nodes(op="placeholder"))
    modes = [getattr(value, "fake_mode", None) for value in values]
    found = [mode for mode in modes if isinstance(mode, FakeTensorMode)]
    return found[0] if found and all(mode is found[0] for mode in found) else None


def _is_plain(module: fx.GraphModule, like: ExportedProgram) -> bool:
    """Whether a graph consists of calls on tensors and sizes alone, with the outputs of a program."""
    signature = like.graph_signature
    kinds = {spec.kind for spec in signature.input_specs} - {InputKind.USER_INPUT, *_STORED}
    if kinds or any(spec.kind is not OutputKind.USER_OUTPUT for spec in signature.output_specs):
        return False
    if len(_outputs(module.graph)) != len(signature.output_specs):
        return False
    stored = state(module)
    return all(_is_plain_node(node, stored) for node in module.graph.nodes)


def _is_plain_node(node: fx.Node, stored: Mapping[str, torch.Tensor]) -> bool:
    if is_data_dependent(node.meta.get("val")):
        return False
    match node.op:
        case "get_attr":
            return node.target in stored
        case "call_function":
            return _is_operator(node)
        case _:
            return node.op in {"placeholder", "output"}


def _is_operator(node: fx.Node) -> bool:
    """Whether a call is one that programs consist of: an operator, a choice of results, or arithmetic on sizes."""
    if isinstance(node.target, OpOverload) or node.target is operator.getitem:
        return True
    return isinstance(node.meta.get("val"), torch.SymInt | torch.SymFloat | torch.SymBool)


def _outputs(graph: fx.Graph) -> list[Any]:
    return pytree.tree_leaves(graph.output_node().args[0])


def _lifted(
    module: fx.GraphModule, like: ExportedProgram, mode: FakeTensorMode
) -> tuple[fx.Graph, list[InputSpec]]:
    """Copy a graph, with a placeholder for each stored tensor before those of the inputs."""
    graph, copies = fx.Graph(), dict[fx.Node, Any]()
    before = {node.name: node for node in like.graph.find_nodes(op="placeholder")}
    names = {s.target: s.arg.name for s in like.graph_signature.input_specs if s.target}
    taken = {*before, *(node.name for node in module.graph.nodes)}
    specs, stored = list[InputSpec](), dict[str, fx.Node]()
    for target, (tensor, kind, persistent) in _tensors(module).items():
        name = names.get(target) or _new_name(target, kind, taken)
        stored[target] = _placeholder(graph, name, name)
        stored[target].meta = _meta(tensor, before.get(name), mode)
        specs.append(InputSpec(kind, TensorArgument(name), target, persistent))
    own = [s for s in like.graph_signature.input_specs if s.kind is InputKind.USER_INPUT]
    for node, spec in zip(module.graph.find_nodes(op="placeholder"), own, strict=True):
        old = before[spec.arg.name]
        copies[node] = _placeholder(graph, old.name, str(old.target))
        copies[node].meta = dict(old.meta)
        specs.append(spec)
    for node in module.graph.nodes:
        if node.op == "get_attr":
            copies[node] = stored[node.target]
        elif node.op != "placeholder":
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output_node().args = (tuple(fx.map_arg(_outputs(module.graph), copies.__getitem__)),)
    return graph, specs


def _tensors(
    module: fx.GraphModule,
) -> dict[str, tuple[torch.Tensor, InputKind, bool | None]]:
    """List stored tensors by name in torch.export's order, with their kinds, and whether buffers are saved."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    buffers = dict(module.named_buffers(remove_duplicate=False))
    saved = module.state_dict().keys()
    found: dict[str, tuple[torch.Tensor, InputKind, bool | None]] = {}
    found |= {name: (x, InputKind.PARAMETER, None) for name, x in parameters.items()}
    found |= {name: (x, InputKind.BUFFER, name in saved) for name, x in buffers.items()}
    for name, tensor in state(module).items():
        found.setdefault(name, (tensor, InputKind.CONSTANT_TENSOR, None))
    return found


def _new_name(target: str, kind: InputKind, taken: set[str]) -> str:
    base = re.sub(r"\W", "_", f"{_STORED[kind]}_{target}")
    name = next(
        n for i in range(len(taken) + 1) if (n := f"{base}_{i}" if i else base) not in taken
    )
    taken.add(name)
    return name


def _placeholder(graph: fx.Graph, name: str, target: str) -> fx.Node:
    node = graph.placeholder(target)
    node.name = name  # torch.export gives names, such as ``input``, that fx would number
    return node


def _meta(tensor: torch.Tensor, old: fx.Node | None, mode: FakeTensorMode) -> dict[str, Any]:
    """Describe a stored tensor, by what the program said of it if its shape is the same."""
    value = None if old is None else old.meta.get("val")
    same = isinstance(value, torch.Tensor) and (
        tuple(value.shape) == tuple(tensor.shape)
        and value.stride() == tensor.stride()
        and (value.dtype, value.device, value.requires_grad)
        == (tensor.dtype, tensor.device, tensor.requires_grad)
    )
    if old is not None and same:
        return dict(old.meta)
    with mode:
        fake = torch.empty_strided(
            tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device
        )
    return {"val": fake.requires_grad_(tensor.requires_grad)}


def _program(
    module: fx.GraphModule,
    like: ExportedProgram,
    graph: fx.Graph,
    inputs: Sequence[InputSpec],
    examples: Any,
) -> ExportedProgram:
    outputs = [_argument(value) for value in _outputs(graph)]
    signature = ExportGraphSignature(
        list(inputs), [OutputSpec(OutputKind.USER_OUTPUT, arg, None) for arg in outputs]
    )
    (whole, *_) = like.module_call_graph
    assert whole.signature, "a program has a signature"
    call = ModuleCallSignature(
        whole.signature.inputs,
        outputs,
        whole.signature.in_spec,
        whole.signature.out_spec,
        whole.signature.forward_arg_names,
    )
    tensors = _tensors(module)
    saved = {n: x for n, (x, kind, kept) in tensors.items() if kept or kind is InputKind.PARAMETER}
    return ExportedProgram(
        root=torch.nn.Module(),
        graph=graph,
        graph_signature=signature,
        state_dict=saved,
        range_constraints=dict(like.range_constraints),
        module_call_graph=[ModuleCallEntry("", call)],
        example_inputs=examples,
        constants={n: x for n, (x, _, _) in tensors.items() if n not in saved},
        verifiers=list(like.verifiers),
    )


def _argument(value: Any) -> Any:
    """Describe one output as a program's signature does."""
    if not isinstance(value, fx.Node):
        return ConstantArgument("", value)
    kind = _SYMBOLIC.get(type(value.meta["val"]), TensorArgument)
    return kind(value.name)
