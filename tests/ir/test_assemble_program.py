"""Programs of edited graphs: their placeholders, names and tensors."""

from __future__ import annotations

import torch

from graphprune.ir.assemble_program import flat_outputs, lifted
from graphprune.ir.infer_shapes import infer_shapes
from graphprune.ir.private_torch import FakeTensorMode
from graphprune.ir.program import unguarded, unlift
from graphprune.ir.tensors import set_tensor
from graphprune.ir.trace import trace
from tests.ir.test_relift import Viewed

aten = torch.ops.aten


def test_a_graph_is_lifted_as_it_was() -> None:
    program = trace(Viewed(), (torch.randn(2, 6),))
    module = unlift(program)
    mode = program.graph.find_nodes(op="placeholder")[0].meta["val"].fake_mode
    assert isinstance(mode, FakeTensorMode)
    graph, inputs = lifted(module, program, mode)
    names = [node.name for node in program.graph.find_nodes(op="placeholder")]
    assert [node.name for node in graph.find_nodes(op="placeholder")] == names
    assert inputs == program.graph_signature.input_specs
    assert [node.op for node in flat_outputs(graph)] == ["call_function"]


def test_tensors_may_be_new() -> None:
    program = trace(Viewed(), (torch.randn(2, 6),))
    module = unlift(program)
    (relu,) = module.graph.find_nodes(op="call_function", target=aten.relu.default)
    set_tensor(module, "a.gain", torch.full((4,), 3.0))
    with module.graph.inserting_before(relu):
        gain = module.graph.get_attr("a.gain")
        relu.args = (module.graph.call_function(aten.mul.Tensor, (relu.args[0], gain)),)
    module.recompile()
    again = infer_shapes(module, program, program.example_inputs)
    assert again is not None
    assert again.state_dict.keys() == {*program.state_dict, "a.gain"}
    x = torch.randn(5, 6)
    assert torch.equal(unguarded(again)(x), module(x))
    assert not torch.equal(unguarded(again)(x), unguarded(program)(x))
