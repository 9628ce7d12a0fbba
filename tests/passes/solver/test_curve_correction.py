"""Curves corrected by plans whose distortion is known."""

from __future__ import annotations

import numpy as np
import pytest

from graphprune.passes.solver import correct
from graphprune.passes.solver.curve_correction import SPREAD


def plans(
    count: int, groups: int, seed: int = 0
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.random.default_rng(seed).lognormal(0, 1, (count, groups))


def test_many_plans_tell_the_factors() -> None:
    parts, true = plans(400, 6), np.array([0.3, 0.5, 0.4, 0.8, 0.6, 0.35])
    found = correct(parts, parts @ true)
    np.testing.assert_allclose(found.factors, true, rtol=5e-3)


def test_a_scale_is_told_by_one_plan_and_is_no_misfit() -> None:
    found = correct(np.array([[1.0, 3.0]]), np.array([1e-6]))
    np.testing.assert_allclose(found.factors, 2.5e-7)
    assert found.misfit == pytest.approx(0, abs=1e-9)


def test_few_plans_change_the_curves_no_more_than_they_must() -> None:
    parts = plans(4, 30)
    known = parts.sum(1) * np.array([0.45, 0.5, 0.55, 0.5])
    found = correct(parts, known)
    before, after = (
        np.abs(np.log(parts @ f / known)).max() for f in (np.full(30, 0.5), found.factors)
    )
    assert after < before / 2
    assert np.abs(np.log(found.factors / 0.5)).max() < 2 * SPREAD


def test_a_group_that_never_lost_a_channel_gets_the_common_scale() -> None:
    parts = plans(5, 3) * np.array([1.0, 1.0, 0.0])
    found = correct(parts, parts.sum(1) * 0.5)
    np.testing.assert_allclose(found.factors[2], 0.5)


def test_what_explains_the_plans_has_less_misfit() -> None:
    parts = plans(6, 8)
    known = (parts**1.5).sum(1)
    assert correct(parts**1.5, known).misfit < correct(parts, known).misfit


@pytest.mark.parametrize("spread", [1e-9, 1e9])
def test_errors_of_any_size_are_fitted(spread: float) -> None:
    parts = np.array([[1.0, 1e-3], [1e-3, 1.0]])
    found = correct(parts, np.array([spread, 1.0]))
    assert np.isfinite(found.factors).all()
    assert (found.factors > 0).all()
    assert found.misfit > 1
