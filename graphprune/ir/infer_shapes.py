"""Make a program of an edited graph by inferring its shapes anew, without tracing it again.

Every call runs on fake tensors, in the sizes of the examples and in larger ones, which shows that the calls
fit together, in a tenth of the time of an export. Nothing is assumed of dynamic sizes that the program didn't
assume: where a call needs more, the graph has to be exported.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from graphprune.errors import GraphpruneError

from .assemble_program import STORED, assembled, flat_outputs, lifted
from .forward_errors import FORWARD_ERRORS
from .grown_sizes import grown_symbols
from .nodes import evaluate
from .private_torch import FakeTensorMode, OpOverload, enable_python_dispatcher, pytree
from .program import dynamic_dims, state
from .sizes import is_data_dependent
from .trace import silence_torch
from .trial_sizes import TrialSizes, generalised

if TYPE_CHECKING:
    import sympy

__all__ = ["infer_shapes"]

logger = logging.getLogger(__name__)


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
    graph, inputs = lifted(module, like, mode)
    try:
        with silence_torch(), _as_exported(), _nothing_assumed(mode):
            _infer(graph, mode, [TrialSizes(values) for values in _trials(like)])
    except (GraphpruneError, *FORWARD_ERRORS) as error:  # nodes of files know few sizes
        logger.info("the shapes of an edited graph can't be inferred: %s", error)
        return None
    graph.eliminate_dead_code()
    return assembled(module, like, graph, inputs, examples)


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
    kinds = {spec.kind for spec in signature.input_specs} - {InputKind.USER_INPUT, *STORED}
    if kinds or any(spec.kind is not OutputKind.USER_OUTPUT for spec in signature.output_specs):
        return False
    if len(flat_outputs(module.graph)) != len(signature.output_specs):
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
