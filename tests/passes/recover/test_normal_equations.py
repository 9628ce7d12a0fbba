"""Two systems of equations, one solution."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from graphprune.passes.recover import normal_equations as normal
from graphprune.passes.recover.normal_equations import Rows, normal_equations


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
