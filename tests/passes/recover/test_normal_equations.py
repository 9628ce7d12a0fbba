"""Two systems of equations, one solution."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from graphprune.passes.recover import normal_equations as normal
from graphprune.passes.recover.normal_equations import apply_weight, normal_equations
from graphprune.passes.recover.rows import Rows


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
    for kind, how in product((normal._ByRow, normal._ByInput), (torch.float64, torch.float32)):
        equations = kind.of(given, weight, bias, free_bias=free_bias, solved_in=how)
        factor = equations.factor(0.1)
        assert factor is not None
        found.append(equations.solve(equations.aim(given), factor, 0.1))
    for other in found[1:]:
        torch.testing.assert_close(found[0], other, rtol=1e-5, atol=1e-5)
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


@pytest.mark.parametrize("count", [6, 60])
@pytest.mark.parametrize("ridge", [0.1, 10.0])
def test_weights_and_the_multiple_of_the_old_ones_are_the_best_together(
    count: int, ridge: float
) -> None:
    """The minimum over weights and multiple of the squared error and both penalties, found by gradients."""
    torch.manual_seed(0)
    x, y = torch.randn(1, count, 12), torch.randn(1, count, 3)
    weight = torch.randn(1, 3, 12).double()
    data = [Rows(x, y, torch.zeros_like(y))]
    bias = torch.zeros(1, 3, dtype=torch.float64)
    equations = normal_equations(data, weight, bias, free_bias=False)
    got, _ = equations.solve(equations.aim(data), equations.factor(ridge), ridge)
    unit = float(x.double().square().sum()) / count / 12
    new, multiple = weight.clone().requires_grad_(), torch.ones(1, 3, 1).double().requires_grad_()
    search = torch.optim.LBFGS([new, multiple], max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        wrong = (x.double() @ new.transpose(1, 2) - y).square().sum() / count
        apart = (new - multiple * weight).square().sum()
        beside = ridge * unit * normal.FREE * (weight * (multiple - 1)).square().sum()
        total = wrong + ridge * unit * apart + beside
        total.backward()
        return total

    search.step(loss)
    torch.testing.assert_close(got, new.detach(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
def test_noise_in_the_inputs_shrinks_the_old_weights_by_one_factor(noise: float) -> None:
    """A strong ridge keeps their direction, though the factor is far from 1."""
    torch.manual_seed(0)
    x = torch.randn(1, 2000, 12)
    weight = torch.randn(1, 3, 12).double()
    y = x @ weight.float().transpose(1, 2)
    data = [Rows(x + noise * torch.randn(x.shape), y, torch.zeros_like(y))]
    equations = normal_equations(data, weight, torch.zeros(1, 3).double(), free_bias=True)
    got, _ = equations.solve(equations.aim(data), equations.factor(3.0), 3.0)
    best = 1 / (1 + noise**2)
    factor = (got * weight).sum(2) / weight.square().sum(2)
    assert ((factor - best).abs() < 0.5 * (1 - best)).all()
    along = torch.cosine_similarity(got, weight, dim=2)
    assert (along > 0.99).all()


def test_the_product_with_one_row() -> None:
    weight, row = torch.randn(2, 3, 4), torch.randn(2, 4)
    torch.testing.assert_close(apply_weight(weight, row), torch.einsum("gou,gu->go", weight, row))
