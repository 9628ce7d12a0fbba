"""Exporting again and running copies: constants, derived sizes, limits, writing into inputs."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.ir.program import dynamic_dims, fingerprint, input_names, unlift
from graphprune.ir.relift import relift
from graphprune.verify.oracle import verify, verify_unchanged


class Mixed(nn.Module):
    """A flag, a missing input, a buffer that counts calls, and an input that is written into."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 4)
        self.register_buffer("calls", torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor, times: int, mask: Tensor | None = None) -> Tensor:
        self.calls.add_(1)
        x.mul_(0.5)
        return self.b(torch.relu(self.a(x))) * times + self.calls


def exported(model: nn.Module, args: tuple[Any, ...], shapes: Any) -> ExportedProgram:
    return torch.export.export(model.eval(), args, dynamic_shapes=shapes)


def test_constants_and_mutation() -> None:
    program = exported(Mixed(), (torch.randn(2, 6), 3, None), ({0: Dim("n", max=4)}, None, None))
    assert input_names(program) == ("x", "times", "mask")
    analysis = analyse(program)
    verify(Cut.keeping(analysis, {"a": [0, 3, 4]}))
    assert verify_unchanged(program, program).max_error == 0
    assert float(program.state_dict["calls"]) == 0


class Halves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 8)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.a(torch.cat([x, y])).sum(1)


def test_derived_sizes_stay_derived() -> None:
    n = Dim("n", max=8)
    args = torch.randn(2, 6), torch.randn(4, 6)
    program = exported(Halves(), args, ({0: n}, {0: 2 * n}))
    again = relift(unlift(program), program)
    sizes = [str(dims[0]) for dims in dynamic_dims(again).values()]
    assert sizes[1] == f"2*{sizes[0]}"


@pytest.mark.parametrize("function", [torch.sym_max, torch.sym_min, torch.sym_not])
def test_fingerprint_is_the_same_wherever_functions_lie_in_memory(function: Any) -> None:
    def calling(target: Any) -> str:
        graph = fx.Graph()
        x, y = graph.placeholder("x"), graph.placeholder("y")
        graph.output(graph.call_function(target, (x, y)))
        return fingerprint(fx.GraphModule({}, graph))

    elsewhere = FunctionType(function.__code__, {"__name__": "torch"}, function.__name__)
    assert str(elsewhere) != str(function)
    assert calling(elsewhere) == calling(function)
    assert calling(torch.sym_ite) != calling(function)
