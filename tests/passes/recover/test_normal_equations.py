"""Two systems of equations, one solution."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from graphprune.passes.recover import normal_equations as normal
from graphprune.passes.recover.normal_equations import Rows, apply_weight, normal_equations


@pytest.mark.parametrize("free_bias", [False, True])
@pytest.mark.parametrize("count", [5, 40])
def test_equations_by_row_and_by_input_have_one_solution(count: int, *, free_bias: bool) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(2, 3, 12).double(), torch.randn(2, 3).double()
    given = [
        Rows(torch.randn(2, n, 12) + 1, torch.randn(2, n, 3), torch.randn(2, n, 3))
        for n in (count, count + 1)
    ]
    found: list[tuple[Tensor, Tensor]] = []
    for kind in (normal._ByRow, normal._ByInput):
        equations = kind.of(given, weight, bias, free_bias=free_bias)
        factor = equations.factor(0.1)
        assert factor is not None
        found.append(equations.solve(equations.aim(given), factor, 0.1))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)
    chosen = normal_equations(given, weight, bias, free_bias=free_bias)
    assert isinstance(chosen, normal._ByRow if 2 * count + 1 < 12 else normal._ByInput)


@pytest.mark.parametrize("count", [6, 60])
def test_a_vanishing_ridge_gives_least_squares_and_a_large_one_the_old_weights(count: int) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(1, count, 12), torch.randn(1, count, 3)
    weight, bias = torch.randn(1, 3, 12).double(), torch.randn(1, 3).double()
    data = [Rows(x, y, torch.zeros_like(y))]
    equations = normal_equations(data, weight, bias, free_bias=True)
    aim = equations.aim(data)
    for ridge, bound in ((1e-7, None), (1e9, 1e-5)):
        factor = equations.factor(ridge)
        assert factor is not None
        new, shift = equations.solve(aim, factor, ridge)
        if bound is not None:
            assert (new - weight).abs().max() < bound
            continue
        design = torch.cat([x[0], torch.ones(count, 1)], 1).double()
        best = design @ torch.linalg.lstsq(design, y[0].double(), driver="gelsd").solution
        got = x[0].double() @ new[0].T + shift[0]
        torch.testing.assert_close(got, best, rtol=1e-3, atol=1e-3)


def test_the_product_with_one_row() -> None:
    weight, row = torch.randn(2, 3, 4), torch.randn(2, 4)
    torch.testing.assert_close(apply_weight(weight, row), torch.einsum("gou,gu->go", weight, row))
