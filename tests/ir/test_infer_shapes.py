"""Programs whose shapes are inferred anew are what torch.export makes of the same graph."""

from __future__ import annotations

import io
import operator
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram
from torch.utils._pytree import tree_leaves

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.errors import LoadError
from graphprune.ir import relift as relift_module
from graphprune.ir.infer_shapes import infer_shapes
from graphprune.ir.program import dynamic_dims, input_names, unguarded, unlift
from graphprune.ir.relift import relift
from graphprune.ir.tensors import set_tensor
from graphprune.ir.trace import trace
from graphprune.verify.graph_runs import error, run
from graphprune.verify.inputs import native_inputs, size_growths
from tests import nets
from tests.ir.test_relift import Viewed, edited

aten = torch.ops.aten

SAME = 1e-6
"""Relative error in float32 of two graphs of the same calls."""


def half_of(net: Any) -> Cut:
    torch.manual_seed(0)
    net = net.eval()
    analysis = analyse(trace(net, net.inputs(), net.keywords()))
    return Cut.keeping(analysis, {g.id: range((g.width + 1) // 2) for g in analysis.groups})


def shapes(program: ExportedProgram) -> list[Any]:
    """The sizes and types of inputs and results, where symbols have the names that they have."""
    named = {name: f"s{i}" for i, name in enumerate(_symbols(program))}
    values = [n.meta["val"] for n in program.graph.nodes if n.op == "placeholder"]
    values += [n.meta["val"] for n in program.graph.output_node().all_input_nodes]
    return [
        (tuple(named.get(str(size), str(size)) for size in x.shape), x.dtype, x.requires_grad)
        if isinstance(x, Tensor)
        else type(x)
        for x in values
    ]


def _symbols(program: ExportedProgram) -> list[str]:
    return list(dict.fromkeys(s for dims in dynamic_dims(program).values() for s in dims.values()))


@pytest.mark.parametrize("name", [*nets.NETS])
def test_it_is_what_torch_exports(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = half_of(nets.NETS[name]())
    got = infer_shapes(cut.module, cut.dense, cut.dense.example_inputs)
    assert got is not None
    monkeypatch.setattr(relift_module, "infer_shapes", lambda *_: None)
    expected = relift(cut.module, cut.dense)
    assert input_names(got) == input_names(expected)
    assert {n: len(d) for n, d in dynamic_dims(got).items()} == {
        n: len(d) for n, d in dynamic_dims(expected).items()
    }
    assert got.state_dict.keys() == expected.state_dict.keys()
    assert got.constants.keys() == expected.constants.keys()
    assert all(got.state_dict[n] is x for n, x in expected.state_dict.items())
    assert got.call_spec == expected.call_spec
    for grow in size_growths(got):
        inputs = native_inputs(expected, grow, seed=0)
        pair = [run(fx.Interpreter(unlift(p)), inputs) for p in (got, expected)]
        assert error(*pair) <= SAME


@pytest.mark.parametrize("name", ["SqueezeExcite", "TwoInTwoOut", "TiedWeights", "Detector"])
def test_the_shapes_of_all_inputs_and_outputs_are_torchs(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = half_of(nets.NETS[name]())
    got = infer_shapes(cut.module, cut.dense, cut.dense.example_inputs)
    monkeypatch.setattr(relift_module, "infer_shapes", lambda *_: None)
    assert got is not None
    assert shapes(got) == shapes(relift(cut.module, cut.dense))


@pytest.mark.parametrize("name", ["ChannelShuffle", "Keyword", "InPlace"])
def test_it_can_be_saved_and_unlifted_and_cut_again(name: str) -> None:
    cut = half_of(nets.NETS[name]())
    program = infer_shapes(cut.module, cut.dense, cut.dense.example_inputs)
    assert program is not None
    stream = io.BytesIO()
    torch.export.save(program, stream)
    stream.seek(0)
    again = torch.export.load(stream)
    assert dynamic_dims(again).keys() == dynamic_dims(program).keys()
    (group, *_) = (analysis := analyse(program)).groups
    smaller = Cut.keeping(analysis, {group.id: [0]})
    twice = infer_shapes(smaller.module, program, program.example_inputs)
    assert twice is not None
    args, kwargs = program.example_inputs or ((), {})
    assert tree_leaves(unguarded(twice)(*args, **kwargs))


@pytest.mark.parametrize("sizes", [[2, 2, 4], [4, -1, 2], [5, -1, 4]])
def test_nothing_new_is_assumed_of_a_dynamic_size(sizes: list[int]) -> None:
    module, program = edited(sizes)
    before = dynamic_dims(program)
    assert infer_shapes(module, program, program.example_inputs) is None
    assert dynamic_dims(program) == before != {}
    assert infer_shapes(unlift(program), program, program.example_inputs) is not None


class Picks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[x[:, 0] > 0].relu()


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda y: y.relu(), lambda y: -y, (x,))


@torch.library.custom_op("graphprune_tests::of_few_sizes", mutates_args=())
def of_few_sizes(x: Tensor) -> Tensor:
    return x.clone()


@of_few_sizes.register_fake
def _(x: Tensor) -> Tensor:
    size: Any = x.shape[0]
    if isinstance(size, int) and size != 4:
        raise LoadError("nobody has seen such a size")
    return torch.empty_like(x)


class KnowsFewSizes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return of_few_sizes(x) + 1


def test_an_operator_may_know_too_few_sizes_for_trials() -> None:
    program = trace(KnowsFewSizes(), (torch.randn(4, 6),))
    assert infer_shapes(unlift(program), program, program.example_inputs) is None
    assert dynamic_dims(relift(unlift(program), program)) != {}


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + self.calls


@pytest.mark.parametrize("net", [Picks, Branches])
def test_what_holds_more_than_calls_of_known_sizes_is_exported(net: type[nn.Module]) -> None:
    program = trace(net(), (torch.randn(4, 6),))
    assert infer_shapes(unlift(program), program, program.example_inputs) is None
    assert relift(unlift(program), program)


class Reshapes(nn.Module):
    """Changes the shape of a value in place, after it was made."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        z = y + 1
        y.unsqueeze_(1)
        return y.sum(1) + z


@pytest.mark.parametrize("net", [Counts, Reshapes])
def test_calls_that_write_keep_the_shapes_that_values_had(net: type[nn.Module]) -> None:
    program = trace(net(), (torch.randn(4, 6),))
    again = relift(unlift(program), program)
    sizes = [
        [len(n.meta["val"].shape) for n in each.graph.nodes if n.op == "call_function"]
        for each in (program, again)
    ]
    assert sizes[0] == sizes[1]
    assert again.state_dict.keys() == program.state_dict.keys()
    x = torch.ones(3, 6)
    assert torch.equal(unguarded(again)(x), x if net is Counts else 5 * x) is (net is Reshapes)


class Flat(nn.Module):
    """Rows of a dynamic number, whose channels become part of a dynamic size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a, self.channels = nn.Linear(6, channels), channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).transpose(1, 2).relu().flatten(1)
        return torch.cat([y, y.view(-1, self.channels, x.shape[1]).flatten(1)], 1)


@pytest.mark.parametrize("kept", [3, 4, 8])
def test_channels_within_a_dynamic_size_change_its_formula(kept: int) -> None:
    shapes_ = ({0: Dim("batch", min=1), 1: Dim("rows", min=1)},)
    program = torch.export.export(Flat(8), (torch.randn(2, 4, 6),), dynamic_shapes=shapes_)
    module = unlift(program)
    set_tensor(module, "a.weight", nn.Parameter(torch.randn(kept, 6)))
    set_tensor(module, "a.bias", nn.Parameter(torch.randn(kept)))
    (view,) = module.graph.find_nodes(op="call_function", target=aten.view.default)
    view.args = (view.args[0], [-1, kept, view.args[1][2]])
    again = infer_shapes(module, program, program.example_inputs)
    assert again is not None
    (result,) = again.graph.output_node().all_input_nodes
    batch, size = result.meta["val"].shape
    (rows,) = size.node.expr.free_symbols
    assert size.node.expr == 2 * kept * rows
    assert isinstance(batch, torch.SymInt)
    assert unguarded(again)(torch.randn(5, 3, 6)).shape == (5, 6 * kept)


@pytest.mark.parametrize("function", [torch.relu, operator.neg, torch.nn.functional.gelu])
def test_functions_that_are_no_operators_are_traced(function: Any) -> None:
    program = trace(Viewed(), (torch.randn(2, 6),))
    module = unlift(program)
    (relu,) = module.graph.find_nodes(op="call_function", target=aten.relu.default)
    relu.target = function
    relu.meta = {}
    module.recompile()
    assert infer_shapes(module, program, program.example_inputs) is None
    again = relift(module, program)
    assert function not in [node.target for node in again.graph.nodes]
    x = torch.randn(5, 6)
    assert torch.equal(unguarded(again)(x), module(x))
