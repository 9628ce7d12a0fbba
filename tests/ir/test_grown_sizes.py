"""Larger dynamic sizes: within their bounds, derived ones by their formula, multiples where a program asks for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import Dim

from graphprune.ir.grown_sizes import grown_shapes, grown_symbols
from graphprune.ir.program import dynamic_dims
from tests.ir.test_program import Halves, Mixed, exported


def test_sizes_grow_up_to_their_bounds() -> None:
    program = exported(Mixed(), (torch.randn(2, 6), 3, None), ({0: Dim("n", max=4)}, None, None))
    assert [grown_shapes(program, by)["x"] for by in (0, 1, 5)] == [(2, 6), (3, 6), (4, 6)]


class Pooled(nn.Module):
    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool1d(input, 4, 4).repeat_interleave(4, 2) + input


def test_an_input_may_be_called_as_python_calls_something() -> None:
    dims = ({0: Dim("n"), 2: Dim.AUTO},)
    program = exported(Pooled(), (torch.randn(2, 3, 8),), dims)
    assert grown_shapes(program, 1) == {"input": (3, 3, 12)}


def test_derived_sizes_grow_by_their_formula() -> None:
    n = Dim("n", max=8)
    program = exported(Halves(), (torch.randn(2, 6), torch.randn(4, 6)), ({0: n}, {0: 2 * n}))
    (symbol, _) = (str(dims[0]) for dims in dynamic_dims(program).values())
    assert grown_shapes(program, 1) == grown_shapes(program, 1) == {"x": (3, 6), "y": (6, 6)}
    assert [{str(s): v for s, v in grown_symbols(program, by).items()} for by in (0, 1, 9)] == [
        {symbol: size} for size in (2, 3, 8)
    ]
