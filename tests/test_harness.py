"""The harness finds what it is there to find: passes that break their word, one way each."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from graphprune.errors import PassError
from graphprune.ir.program import clone, unlift
from graphprune.ir.relift import relift
from graphprune.pipeline import State, TransformPass
from tests import nets
from tests.harness import apply_and_check, operators

aten = torch.ops.aten
Rewrite = Callable[[ExportedProgram], ExportedProgram]


class Small(nets.Net):
    ops_before: ClassVar[dict[str, int]] = {"conv2d": 1, "relu": 1}

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.conv(x)
        return torch.relu(y), y


class Rewriting(TransformPass):
    """A pass that does what it is told."""

    name = "rewriting"

    def __init__(self, how: Rewrite) -> None:
        self.how = how

    def run(self, state: State) -> tuple[ExportedProgram, tuple[()]]:
        return self.how(state.program), ()


def edited(edit: Callable[[fx.GraphModule], None]) -> Rewrite:
    def rewrite(program: ExportedProgram) -> ExportedProgram:
        module = clone(unlift(program))
        edit(module)
        module.recompile()
        return relift(module, program)

    return rewrite


def only(module: fx.GraphModule, target: object) -> fx.Node:
    return next(node for node in module.graph.nodes if node.target is target)


def halved(module: fx.GraphModule) -> None:
    module.conv.weight = nn.Parameter(module.conv.weight.detach() / 2)


def without_relu(module: fx.GraphModule) -> None:
    relu = only(module, aten.relu.default)
    relu.replace_all_uses_with(relu.args[0])
    module.graph.erase_node(relu)


def twice_relu(module: fx.GraphModule) -> None:
    relu = only(module, aten.relu.default)
    with module.graph.inserting_before(relu):
        relu.args = (module.graph.call_function(aten.relu.default, relu.args),)


def rounded_output(module: fx.GraphModule) -> None:
    output = module.graph.output_node()
    with module.graph.inserting_before(output):
        last = only(module, aten.relu.default)
        half = module.graph.call_function(aten.to.dtype, (last, torch.float16))
        last.replace_all_uses_with(half, delete_user_cb=lambda user: user is output)


def flat_output(module: fx.GraphModule) -> None:
    output = module.graph.output_node()
    with module.graph.inserting_before(output):
        last = only(module, aten.relu.default)
        rows = module.graph.call_function(aten.slice.Tensor, (last, 2, 0, 3))
        last.replace_all_uses_with(rows, delete_user_cb=lambda user: user is output)


def empty_value(module: fx.GraphModule) -> None:
    conv = only(module, aten.conv2d.default)
    with module.graph.inserting_after(conv):
        none = module.graph.call_function(aten.slice.Tensor, (conv, 1, 0, 0))
    with module.graph.inserting_after(none):
        total = module.graph.call_function(aten.sum.default, (none,))
    relu = only(module, aten.relu.default)
    with module.graph.inserting_before(relu):
        relu.args = (module.graph.call_function(aten.add.Tensor, (conv, total)),)


def other_keys(module: fx.GraphModule) -> None:
    output = module.graph.output_node()
    output.args = (output.args[0][:1],)
    module.graph._codegen.pytree_info = module.graph._codegen.pytree_info._replace(
        out_spec=pytree.tree_flatten((0,))[1]
    )


def written_into(program: ExportedProgram) -> ExportedProgram:
    with torch.no_grad():
        program.state_dict["conv.weight"].mul_(2)
    return program


def replaced(program: ExportedProgram) -> ExportedProgram:
    weight = program.state_dict["conv.weight"]
    program.state_dict["conv.weight"] = nn.Parameter(weight.detach().clone())
    return program


def noted(program: ExportedProgram) -> ExportedProgram:
    program.graph.output_node().meta["mine"] = 1
    return program


def frozen(program: ExportedProgram) -> ExportedProgram:
    program.state_dict["conv.weight"].requires_grad_(False)
    return program


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (written_into, "changed the program that it was given"),
        (replaced, "changed the program that it was given"),
        (frozen, "tensors that went in were replaced"),
        (noted, "the graph that went in was changed"),
        (edited(lambda _: None), "nothing changed, but it is a new program"),
        (edited(rounded_output), "outputs are of other types or sizes"),
        (edited(flat_output), "outputs are of other types or sizes"),
        (edited(other_keys), "it is called in another way: out_spec"),
        (edited(empty_value), "is empty"),
        (edited(halved), "the result is off by"),
        (edited(without_relu), "the result is off by"),
        (edited(twice_relu), "the pass changes what it has made itself"),
    ],
)
def test_a_pass_that_breaks_its_word_is_found(how: Rewrite, message: str) -> None:
    torch.manual_seed(0)
    with pytest.raises((AssertionError, PassError), match=message):
        apply_and_check(Rewriting(how), Small(), exact=True, idempotent=True)


def test_a_pass_that_keeps_its_word_comes_through() -> None:
    done = apply_and_check(Rewriting(edited(halved)), Small(), ops_after=Small.ops_before)
    assert operators(done.program) == {"conv2d": 1, "relu": 1}
    apply_and_check(Rewriting(lambda program: program), Small(), exact=True, idempotent=True)


def test_counts_are_compared_before_and_after() -> None:
    with pytest.raises(AssertionError, match="calls before"):
        apply_and_check(Rewriting(lambda program: program), Small(), ops_before={"relu": 2})
    with pytest.raises(AssertionError, match="calls after"):
        apply_and_check(Rewriting(edited(without_relu)), Small(), ops_after={"relu": 1})
