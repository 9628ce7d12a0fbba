"""Put a program together from an unlifted graph, as torch.export would: placeholders, signature, tensors."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

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

from .private_torch import FakeTensorMode, pytree
from .program import state

__all__ = ["STORED", "assembled", "flat_outputs", "lifted"]

STORED = {
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


def lifted(
    module: fx.GraphModule, like: ExportedProgram, mode: FakeTensorMode
) -> tuple[fx.Graph, list[InputSpec]]:
    """Copy an unlifted graph, with a placeholder for each stored tensor before those of the inputs.

    Args:
        module: the graph; not changed.
        like: the program that it was made from, which says what its inputs are.
        mode: of the fake tensors that state shapes.

    Returns:
        The graph, and what its placeholders are.
    """
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
    graph.output_node().args = (tuple(fx.map_arg(flat_outputs(module.graph), copies.__getitem__)),)
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
    name = base = re.sub(r"\W", "_", f"{STORED[kind]}_{target}")
    numbers = itertools.count(1)
    while name in taken:
        name = f"{base}_{next(numbers)}"
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


def assembled(
    module: fx.GraphModule,
    like: ExportedProgram,
    graph: fx.Graph,
    inputs: Sequence[InputSpec],
    examples: Any,
) -> ExportedProgram:
    """Put a program together.

    Args:
        module: the unlifted graph, whose tensors the program has.
        like: the program that it was made from.
        graph: what ``lifted`` made of it, with shapes.
        inputs: what its placeholders are.
        examples: the positional and keyword inputs that the program carries.
    """
    outputs = [_argument(value) for value in flat_outputs(graph)]
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


def flat_outputs(graph: fx.Graph) -> list[Any]:
    """List what a graph returns, flattened."""
    return pytree.tree_leaves(graph.output_node().args[0])
