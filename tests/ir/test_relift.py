"""An edited graph is exported again, with dynamic sizes where torch can."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from graphprune.errors import LoadError, TraceError
from graphprune.ir.program import dynamic_dims, unlift
from graphprune.ir.relift import fixed_sizes, relift
from graphprune.ir.trace import trace

aten = torch.ops.aten


class Viewed(nn.Module):
    """A view whose sizes are edited."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).view(x.shape[0], 2, 4).relu().flatten(1))


def edited(sizes: list[int]) -> tuple[fx.GraphModule, ExportedProgram]:
    program = trace(Viewed(), (torch.randn(2, 6),))
    module = unlift(program)
    (view,) = module.graph.find_nodes(op="call_function", target=aten.view.default)
    view.args = (view.args[0], sizes)
    module.recompile()
    return module, program


def test_dynamic_sizes_are_kept() -> None:
    module, program = edited([-1, 2, 4])
    again = relift(module, program)
    assert dynamic_dims(again).keys() == dynamic_dims(program).keys() == {"x"}
    assert fixed_sizes(again, program) == ()


def test_a_graph_that_fixes_the_batch_is_exported_with_it(
    capfd: pytest.CaptureFixture[str],
) -> None:
    module, program = edited([2, 2, 4])
    again = relift(module, program)
    assert dynamic_dims(again) == {}
    assert fixed_sizes(again, program) == ("x",)
    x = torch.randn(2, 6)
    assert torch.equal(again.module()(x), module(x))
    assert not capfd.readouterr().err


def test_a_graph_that_is_not_well_formed_is_an_error_of_ours() -> None:
    with pytest.raises(TraceError, match="can't capture the edited program") as failure:
        relift(*edited([5, -1, 4]))
    assert "leave the layers whole" in failure.value.hint


def test_a_program_without_example_inputs_is_refused_with_a_hint() -> None:
    module, program = edited([-1, 2, 4])
    program.example_inputs = None
    with pytest.raises(LoadError, match="no example inputs") as caught:
        relift(module, program)
    assert "example_inputs" in caught.value.hint
