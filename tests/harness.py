"""The one harness that every transform pass is run with: what a pass may never do, checked at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from graphprune.analysis.frozen import operator_of
from graphprune.ir.program import fingerprint, input_names, output_names, state, unlift
from graphprune.ir.trace import trace
from graphprune.ops.float64 import Float64Interpreter
from graphprune.pipeline import Pipeline, State, TransformPass
from graphprune.verify.graph_runs import error, run
from graphprune.verify.inputs import random_inputs, size_growths
from graphprune.verify.oracle import TOLERANCE

__all__ = ["Seen", "apply_and_check", "check_structure", "operators", "seen", "untouched"]

Subject = nn.Module | ExportedProgram | State


def apply_and_check(
    pass_: TransformPass | Pipeline,
    subject: Subject,
    *,
    exact: bool = False,
    tolerance: float = TOLERANCE,
    seed: int = 0,
    idempotent: bool = False,
    ops_before: Mapping[str, int] | None = None,
    ops_after: Mapping[str, int] | None = None,
) -> State:
    """Run a pass, or a pipeline with a transform pass in it, and check what holds of all of them.

    The program that goes in stays as it is; the one that comes out is well formed, with the same
    inputs and outputs, and is another object only if something about it is different.

    Args:
        pass_: what to run.
        subject: what to run it on: a program, one with the facts that the pass needs, or a net of
            ``tests/nets.py``, whose class fields ``ops_before`` and ``ops_after`` are its counts.
        exact: whether the result must compute the same, in float64, also in another batch size.
        tolerance: largest relative error of that.
        seed: of the inputs for that.
        idempotent: whether the pass claims that running it again changes nothing.
        ops_before: operator -> how many calls of it go in; other operators aren't counted.
        ops_after: operator -> how many calls of it come out.

    Returns:
        The state after the pass, for checks of its own.
    """
    counts = (
        getattr(subject, "ops_before", {}) if ops_before is None else ops_before,
        getattr(subject, "ops_after", {}) if ops_after is None else ops_after,
    )
    given = _state(subject)
    before = given.program
    _check_counts(before, counts[0], "before")
    with untouched(before):
        done = _run(pass_, given)
        after = done.program
        check_structure(after)
        _check_signature(before, after)
        _check_facts(pass_, done)
        _check_shapes(before, after, seed)
        assert after is before or _differ(before, after), "nothing changed, but it is a new program"
        if exact:
            _check_numbers(before, after, tolerance, seed)
    _check_counts(after, counts[1], "after")
    if idempotent:
        with untouched(after):
            again = _run(pass_, done).program
        assert not _differ(after, again), "the pass changes what it has made itself"
    return done


def _state(subject: Subject) -> State:
    if isinstance(subject, State):
        return subject
    if isinstance(subject, ExportedProgram):
        return State(subject)
    net: Any = subject
    return State(trace(net, net.inputs(), net.keywords()))


def _run(pass_: TransformPass | Pipeline, given: State) -> State:
    if isinstance(pass_, Pipeline):
        return pass_.run(given)
    return Pipeline((pass_,), given=tuple(given.facts)).run(given)


@dataclass(frozen=True)
class Seen:
    """All that a program or graph is, but for tensors' values, which are kept beside as copies.

    Attributes:
        text: the graph and what is noted on its nodes, line by line.
        tensors: name -> which object it is, and whether it is trained.
        values: name -> what it held.
    """

    text: tuple[str, ...]
    tensors: Mapping[str, tuple[int, bool]]
    values: Mapping[str, torch.Tensor]


def seen(of: ExportedProgram | fx.GraphModule) -> Seen:
    """What a program or graph is now."""
    tensors = _tensors(of)
    lines = [
        f"{node.format_node()} {_value(node)} {sorted(node.meta)}"
        for graph in _graphs(of)
        for node in graph.nodes
    ]
    if isinstance(of, ExportedProgram):
        lines += [str(of.graph_signature), str(of.range_constraints), str(of.module_call_graph)]
    return Seen(
        tuple(lines),
        {name: (id(tensor), tensor.requires_grad) for name, tensor in tensors.items()},
        {name: tensor.detach().clone() for name, tensor in tensors.items()},
    )


@contextmanager
def untouched(of: ExportedProgram | fx.GraphModule) -> Generator[None]:
    """Check that what is done meanwhile leaves a program or graph as it is."""
    before, alive = seen(of), _tensors(of)  # held, so that no other tensor gets its identity
    yield
    after = seen(of)
    assert after.text == before.text, "the graph that went in was changed"
    assert after.tensors == before.tensors, "tensors that went in were replaced"
    for name in alive:
        assert _equal(after.values[name], before.values[name]), f"{name} was written into"


def _tensors(of: ExportedProgram | fx.GraphModule) -> dict[str, torch.Tensor]:
    if isinstance(of, fx.GraphModule):
        return dict(state(of))
    held = of.state_dict | of.constants
    return {name: value for name, value in held.items() if isinstance(value, torch.Tensor)}


def _graphs(of: ExportedProgram | fx.GraphModule) -> list[fx.Graph]:
    module = of if isinstance(of, fx.GraphModule) else of.graph_module
    return [each.graph for each in module.modules() if isinstance(each, fx.GraphModule)]


def _value(node: fx.Node) -> str:
    value = node.meta.get("val")
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, torch.Tensor) else str(value)


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    same_kind = a.dtype == b.dtype and a.shape == b.shape
    return same_kind and torch.equal(a.isnan(), b.isnan()) and torch.equal(_known(a), _known(b))


def _known(value: torch.Tensor) -> torch.Tensor:
    return value.nan_to_num() if value.is_floating_point() else value


def check_structure(program: ExportedProgram) -> None:
    """Check that a program is well formed, and that no axis of any value is empty."""
    for graph in _graphs(program):
        graph.lint()
        for node in graph.nodes:
            value = node.meta.get("val")
            if isinstance(value, torch.Tensor):
                assert 0 not in [s for s in value.shape if isinstance(s, int)], f"{node} is empty"
    program.validate()
    unlift(program).graph.lint()
    stored = (
        program.graph_signature.inputs_to_parameters | program.graph_signature.inputs_to_buffers
    )
    for node in program.graph.find_nodes(op="placeholder"):
        if node.name in stored and stored[node.name] in program.state_dict:
            tensor, value = program.state_dict[stored[node.name]], node.meta["val"]
            assert (tensor.shape, tensor.dtype) == (value.shape, value.dtype), node.name


def _check_signature(before: ExportedProgram, after: ExportedProgram) -> None:
    """How it is called, and names, types and ranks; sizes of outputs are compared as they come out.

    An output has the name of the node that makes it, which may be another one afterwards: here the
    names are those by which the caller finds it, as in a dict that the program returns.
    """
    for what in ("in_spec", "out_spec"):
        specs = getattr(after.call_spec, what), getattr(before.call_spec, what)
        assert specs[0] == specs[1], f"it is called in another way: {what}"
    for what, names in (("inputs", input_names), ("outputs", output_names)):
        kinds = _kinds(after, names(after)), _kinds(before, names(before))
        assert kinds[0] == kinds[1], f"{what} are of other types or sizes"
    assert input_names(after) == input_names(before), "inputs have other names"


def _kinds(program: ExportedProgram, names: tuple[str, ...]) -> list[Any]:
    """Types and sizes; a dynamic size is ``None``, whatever its symbol is called."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    return [
        (value.dtype, [size if isinstance(size, int) else None for size in value.shape])
        if isinstance(value := values.get(name), torch.Tensor)
        else type(value)
        for name in names
    ]


def _check_facts(pass_: TransformPass | Pipeline, done: State) -> None:
    for each in pass_.passes if isinstance(pass_, Pipeline) else (pass_,):
        for kind in each.gives:
            assert kind not in done.facts or isinstance(done.facts[kind], kind), kind


def _check_shapes(before: ExportedProgram, after: ExportedProgram, seed: int) -> None:
    old, new = unlift(before), unlift(after)
    for grow in size_growths(before):
        inputs = random_inputs(before, grow, seed + grow)
        shapes = [
            [getattr(v, "shape", None) for v in run(Float64Interpreter(g), inputs)]
            for g in (old, new)
        ]
        assert shapes[0] == shapes[1], "outputs have other shapes"


def _check_numbers(
    before: ExportedProgram, after: ExportedProgram, tolerance: float, seed: int
) -> None:
    old, new = unlift(before), unlift(after)
    for grow in size_growths(before):
        inputs = random_inputs(before, grow, seed + grow)
        found = error(run(Float64Interpreter(new), inputs), run(Float64Interpreter(old), inputs))
        assert found <= tolerance, f"the result is off by {found:.1e}"


def _differ(a: ExportedProgram, b: ExportedProgram) -> bool:
    """Whether two programs are of different architectures, or hold different values."""
    one, two = unlift(a), unlift(b)
    mine, other = state(one), state(two)
    return (
        fingerprint(one) != fingerprint(two)
        or mine.keys() != other.keys()
        or not all(_equal(tensor, other[name]) for name, tensor in mine.items())
    )


def operators(program: ExportedProgram) -> Counter[str]:
    """How often each operator is called, by its short name, such as ``conv2d``."""
    nodes = unlift(program).graph.nodes
    return Counter(_short(operator_of(node)) for node in nodes if node.op == "call_function")


def _short(name: str) -> str:
    return name.split(".")[1] if "." in name else name


def _check_counts(program: ExportedProgram, wanted: Mapping[str, int], when: str) -> None:
    found = operators(program)
    assert {name: found[name] for name in wanted} == dict(wanted), f"calls {when}"
