"""Least squares that never fit worse than the old weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from graphprune.passes.recover.ridge import refit, refit_like
from tests.passes.recover.helpers import rows


def test_refit_finds_the_weights_that_made_the_targets() -> None:
    torch.manual_seed(0)
    x, true, shift = torch.randn(400, 6), torch.randn(3, 6), torch.randn(3)
    data = rows(x, x @ true.T + shift)
    zero = torch.zeros(1, 3, 6, dtype=torch.float64)
    fit = refit(
        [data],
        [data],
        zero,
        torch.zeros(1, 3, dtype=torch.float64),
        free_bias=True,
        rectified=False,
    )
    torch.testing.assert_close(fit.weight[0].float(), true, rtol=0, atol=1e-2)
    torch.testing.assert_close(fit.bias[0].float(), shift, rtol=0, atol=1e-2)
    assert fit.after < 1e-4 * fit.before


def test_refit_keeps_the_old_weights_where_nothing_is_better() -> None:
    torch.manual_seed(0)
    x, true = torch.randn(400, 6), torch.randn(3, 6)
    noise = rows(x, torch.randn(400, 3))
    fit = refit(
        [noise],
        [rows(x, x @ true.T)],
        true[None].double(),
        torch.zeros(1, 3, dtype=torch.float64),
        free_bias=True,
        rectified=False,
    )
    assert fit.ridge == 0
    assert torch.equal(fit.weight[0].float(), true)


def test_below_a_relu_any_negative_value_will_do() -> None:
    torch.manual_seed(0)
    x = torch.randn(2000, 4)
    true = torch.randn(2, 4)
    dense = (x @ true.T).relu() - 1 * (x @ true.T < 0)  # a step that a ReLU hides
    data, weight = rows(x, dense), torch.zeros(1, 2, 4, dtype=torch.float64)
    bias = torch.zeros(1, 2, dtype=torch.float64)
    plain = refit([data], [data], weight, bias, free_bias=True, rectified=False)
    knowing = refit([data], [data], weight, bias, free_bias=True, rectified=True)

    def error(fit_weight: Tensor, fit_bias: Tensor) -> float:
        got = (x @ fit_weight[0].float().T + fit_bias[0].float()).relu()
        return float((got - dense.relu()).square().sum())

    assert error(knowing.weight, knowing.bias) < 0.7 * error(plain.weight, plain.bias)


@pytest.mark.parametrize("rectified", [False, True])
def test_a_fit_like_another_is_the_same_on_the_same_rows(*, rectified: bool) -> None:
    torch.manual_seed(0)
    x, true = torch.randn(600, 4), torch.randn(2, 4)
    dense = (x @ true.T).relu() - 1 * (x @ true.T < 0)
    fitted, aside = rows(x[:400], dense[:400]), rows(x[400:], dense[400:])
    old = torch.zeros(1, 2, 4, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    known = refit([fitted], [aside], *old, free_bias=True, rectified=rectified)
    assert known.ridge
    assert bool(known.rounds) == rectified
    same = refit_like(known, [fitted], *old, free_bias=True)
    torch.testing.assert_close((same.weight, same.bias), (known.weight, known.bias))
    every = refit_like(known, [fitted, aside], *old, free_bias=True)
    assert not torch.equal(every.weight, known.weight)
    left = refit_like(replace(known, ridge=0.0), [fitted, aside], *old, free_bias=True)
    assert torch.equal(left.weight, old[0])
