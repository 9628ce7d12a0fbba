"""Least squares that never fit worse than the old weights."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from graphprune.passes.recover.ridge import QUICK, THOROUGH, Fit, refit, refit_like
from graphprune.passes.recover.rows import Rows
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
        limits=None,
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
        limits=None,
    )
    assert fit.ridge == 0
    assert torch.equal(fit.weight[0].float(), true)


LIMITS = [(0.0, math.inf), (0.0, 6.0), (-1.0, 1.0), (-math.inf, 0.5)]


@pytest.mark.parametrize("limits", LIMITS)
def test_beyond_the_limits_any_value_will_do(limits: tuple[float, float]) -> None:
    torch.manual_seed(0)
    x, true = torch.randn(2000, 4), 3 * torch.randn(2, 4)
    exact = x @ true.T + 1
    # steps at the limits, which what follows hides
    dense = torch.where(exact < limits[0], limits[0] - 5, exact)
    dense = torch.where(exact > limits[1], limits[1] + 9, dense)
    data, weight = rows(x, dense), torch.zeros(1, 2, 4, dtype=torch.float64)
    bias = torch.zeros(1, 2, dtype=torch.float64)
    plain = refit([data], [data], weight, bias, free_bias=True, limits=None)
    knowing = refit([data], [data], weight, bias, free_bias=True, limits=limits)

    def error(fit_weight: Tensor, fit_bias: Tensor) -> float:
        got = x @ fit_weight[0].float().T + fit_bias[0].float()
        return float((got.clamp(*limits) - dense.clamp(*limits)).square().sum())

    assert error(knowing.weight, knowing.bias) < 0.7 * error(plain.weight, plain.bias)


@pytest.mark.parametrize("limits", [None, (-2.0, 2.0)])
@pytest.mark.parametrize("count", [6, 60])
def test_the_bias_is_fitted_where_no_weights_are_better(
    count: int, limits: tuple[float, float] | None
) -> None:
    """Old weights are right up to a shift, and the rows to fit are noisy."""
    torch.manual_seed(0)
    x, true, shift = torch.randn(count, 12), torch.randn(3, 12) / 4, torch.tensor([1.0, -1.0, 0.5])
    y = x @ true.T + shift
    new = torch.randn(500, 12)
    fit = refit(
        [rows(x, y + 0.3 * torch.randn(y.shape))],
        [rows(new, new @ true.T + shift)],
        true[None].double(),
        torch.zeros(1, 3, dtype=torch.float64),
        free_bias=True,
        limits=limits,
    )
    assert fit.ridge >= 10
    assert (fit.weight[0].float() - true).abs().max() < 0.1
    assert fit.after < 0.2 * fit.before


@pytest.mark.parametrize(("noise", "least", "most"), [(3.0, 1.0, 1e3), (0.01, 0, 1e-2)])
def test_the_strength_is_found_wherever_it_lies(noise: float, least: float, most: float) -> None:
    """Noisy rows need a strong ridge, exact ones a weak one; the old weights are wrong by a little."""
    torch.manual_seed(0)
    true, x, new = torch.randn(3, 20), torch.randn(60, 20), torch.randn(500, 20)
    old = true + 0.3 * torch.randn(true.shape)
    fit = refit(
        [rows(x, x @ true.T + noise * torch.randn(60, 3))],
        [rows(new, new @ true.T)],
        old[None].double(),
        torch.zeros(1, 3, dtype=torch.float64),
        free_bias=True,
        limits=None,
    )
    assert least <= fit.ridge <= most
    assert fit.after < fit.before


def test_a_strength_that_is_no_better_does_not_end_the_search() -> None:
    torch.manual_seed(0)
    x, true = torch.randn(400, 6), torch.randn(3, 6)
    zero = torch.zeros(1, 3, 6, dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64)
    found = {}
    for strengths in ((1e-3,), (1e2, 1e3, 1e-3), (1e3, 1e3, 1e2, 1e-3)):
        data, search = [rows(x, x @ true.T)], replace(THOROUGH, ridges=strengths)
        fit = refit(data, data, *zero, free_bias=True, limits=None, search=search)
        found[strengths] = fit.ridge
    assert len(set(found.values())) == 1


@pytest.mark.parametrize(
    ("ridge", "quick", "thorough"),
    [(1e-1, [1e-1], [math.inf, 1e0, 1e-1, 1e-2]), (1e1, [1e1], [math.inf, 1e2, 1e1, 1e0])],
)
def test_near_a_fit_in_another_cut_few_strengths_are_tried(
    ridge: float, quick: list[float], thorough: list[float]
) -> None:
    other = Fit(torch.zeros(1, 1, 1), torch.zeros(1, 1), 1.0, 0.5, ridge)
    assert [*QUICK.near(other).ridges] == quick
    assert [*THOROUGH.near(other).ridges] == thorough


@pytest.mark.parametrize("ridge", [0.0, math.inf, 1e-2 * 10**0.5])
def test_near_a_fit_that_tells_nothing_all_strengths_are_tried(ridge: float) -> None:
    assert QUICK.near(Fit(torch.zeros(1, 1, 1), torch.zeros(1, 1), 1.0, 0.5, ridge)) == QUICK
    assert QUICK.near(None) == QUICK


@pytest.mark.parametrize("limits", [None, (0.0, math.inf), (0.0, 1.5)])
def test_a_fit_like_another_is_the_same_on_the_same_rows(
    limits: tuple[float, float] | None,
) -> None:
    torch.manual_seed(0)
    x, true = torch.randn(600, 4), torch.randn(2, 4)
    dense = (x @ true.T).relu() - 1 * (x @ true.T < 0)
    fitted, aside = rows(x[:400], dense[:400]), rows(x[400:], dense[400:])
    old = torch.zeros(1, 2, 4, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    known = refit([fitted], [aside], *old, free_bias=True, limits=limits)
    assert known.ridge
    assert bool(known.rounds) == (limits is not None)
    same = refit_like(known, [fitted], *old, free_bias=True, limits=limits)
    torch.testing.assert_close((same.weight, same.bias), (known.weight, known.bias))
    every = refit_like(known, [fitted, aside], *old, free_bias=True, limits=limits)
    assert not torch.equal(every.weight, known.weight)
    bias_only = refit_like(
        replace(known, ridge=math.inf), [fitted, aside], *old, free_bias=True, limits=limits
    )
    assert torch.equal(bias_only.weight, old[0])
    assert not torch.equal(bias_only.bias, old[1])
    left = refit_like(
        replace(known, ridge=0.0), [fitted, aside], *old, free_bias=True, limits=limits
    )
    assert torch.equal(left.weight, old[0])


@pytest.mark.parametrize("silent", [0.0, 1e-6, 1e-4])
@pytest.mark.parametrize("count", [40, 4000], ids=["by row", "by input"])
def test_a_channel_that_is_nearly_silent_where_it_is_fitted_spoils_no_other(
    silent: float, count: int
) -> None:
    """Of depthwise weights one channel speaks on the held-out rows only; the old weights of the others are wrong."""
    torch.manual_seed(0)
    groups, taps = 6, 50
    true = torch.randn(groups, 1, taps, dtype=torch.float64)

    def data(loudness: float) -> Rows:
        x = torch.randn(groups, count, taps)
        x[2] *= loudness
        y = x @ true.float().transpose(1, 2) + 0.1 * torch.randn(groups, count, 1)
        return Rows(x, y, torch.zeros_like(y))

    old = true + 0.5 * torch.randn(true.shape)
    old[2] = true[2]
    zero = torch.zeros(groups, 1, dtype=torch.float64)
    fit = refit([data(silent)], [data(1.0)], old, zero, free_bias=True, limits=None)
    assert 0 < fit.ridge < math.inf
    assert fit.after < (0.1 if count > taps else 0.95) * fit.before
