"""Symbolic sizes: told to torch.export as they were."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram

from graphprune.ir.dynamic_shapes import bounds, input_dims


class Mean(nn.Module):
    def forward(self, x: Tensor, y: Tensor, scale: float) -> Tensor:
        return x.mean() * scale + y.mean()


def exported(shapes: Any, *sizes: tuple[int, ...]) -> tuple[ExportedProgram, list[fx.Node]]:
    args = (*(torch.randn(size) for size in sizes), 2.0)
    program = torch.export.export(Mean(), args, dynamic_shapes=(*shapes, None))
    return program, program.graph.find_nodes(op="placeholder")


def test_sizes_keep_their_names_and_bounds() -> None:
    n = Dim("n", min=2, max=32)
    program, (x, y, scale) = exported(({0: n}, {1: n}), (4, 3), (3, 4))
    dims: dict[str, Any] = {}
    first, second = input_dims(x, program, dims), input_dims(y, program, dims)
    assert first[0] is second[1]
    assert (first[0].__name__, first[0].min, first[0].max) == ("batch", 2, 32)
    assert input_dims(scale, program, dims) is None
    assert len(dims) == 1


def test_another_symbol_has_another_name_and_static_sizes_none() -> None:
    program, (x, y, _) = exported(({0: Dim("n"), 1: Dim("m")}, None), (4, 5), (3, 4))
    dims: dict[str, Any] = {}
    names = {axis: dim.__name__ for axis, dim in input_dims(x, program, dims).items()}
    assert names == {0: "batch", 1: "batch1"}
    assert input_dims(y, program, dims) is None


def test_a_linear_size_is_a_function_of_its_symbol() -> None:
    n = Dim("n", max=8)
    program, (x, y, _) = exported(({0: n}, {0: 2 * n + 1}), (4, 3), (9, 3))
    dims: dict[str, Any] = {}
    input_dims(x, program, dims)
    derived = input_dims(y, program, dims)[0]
    again = torch.export.export(
        Mean(),
        (torch.randn(4, 3), torch.randn(9, 3), 2.0),
        dynamic_shapes=(input_dims(x, program, dims), {0: derived}, None),
    )
    _, size = (
        n.meta["val"].shape[0].node.expr for n in again.graph.find_nodes(op="placeholder")[:2]
    )
    (symbol,) = size.free_symbols
    assert size == 2 * symbol + 1


@pytest.mark.parametrize(("given", "expected"), [({}, None), ({"max": 9}, 9)])
def test_bounds_of_a_symbol(given: dict[str, int], expected: int | None) -> None:
    program, (x, *_) = exported(({0: Dim("n", min=3, **given)}, None), (4, 5), (3, 4))
    symbol = x.meta["val"].shape[0].node.expr
    lower, upper = bounds(symbol, program)
    assert (lower, upper) == (3, expected)
    assert bounds(symbol, None) == (1, None)
