"""Exporting again and running copies: constants, derived sizes, limits, writing into inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.ir.program import (
    dynamic_dims,
    grown_shapes,
    grown_symbols,
    input_names,
    unlift,
)
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
    assert grown_shapes(program, 5) == {"x": (4, 6)}
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


class Pooled(nn.Module):
    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool1d(input, 4, 4).repeat_interleave(4, 2) + input


def test_an_input_may_be_called_as_python_calls_something() -> None:
    dims = ({0: Dim("n"), 2: Dim.AUTO},)
    program = exported(Pooled(), (torch.randn(2, 3, 8),), dims)
    assert grown_shapes(program, 1) == {"input": (3, 3, 12)}


def test_derived_sizes_stay_derived() -> None:
    n = Dim("n", max=8)
    args = torch.randn(2, 6), torch.randn(4, 6)
    program = exported(Halves(), args, ({0: n}, {0: 2 * n}))
    again = relift(unlift(program), program)
    sizes = [str(dims[0]) for dims in dynamic_dims(again).values()]
    assert sizes[1] == f"2*{sizes[0]}"
    assert grown_shapes(again, 1) == grown_shapes(again, 1) == {"x": (3, 6), "y": (6, 6)}
    assert [{str(s): v for s, v in grown_symbols(again, by).items()} for by in (0, 1, 9)] == [
        {sizes[0]: size} for size in (2, 3, 8)
    ]
