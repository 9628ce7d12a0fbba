"""Combinations of weights are found where the rank is deficient, with the constants that biases add."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphprune.passes.lossless.combinations import combinations
from graphprune.passes.lossless.relations import Relations, partition


def made(weights: torch.Tensor) -> Relations:
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(weights.shape[1], 50, generator=generator, dtype=torch.float64)
    bias = torch.randn(len(weights), 1, generator=generator, dtype=torch.float64)
    samples = (weights @ inputs + bias)[:, None]
    found = combinations(
        weights, partition(samples, np.zeros(len(weights), dtype=np.int64)), samples
    )
    np.testing.assert_allclose(found.imposed(samples), samples, atol=1e-9)
    return found


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(("out", "features"), [(12, 4), (6, 9), (20, 19)])
def test_the_rank_is_what_stays(out: int, features: int) -> None:
    assert len(made(random(out, features)).gone) == max(out - features, 0)


def test_a_sum_of_two_others() -> None:
    weights = random(6, 20)
    weights[4] = weights[1] - 3 * weights[2]
    found = made(weights)
    assert found.gone.tolist() == [4]
    np.testing.assert_allclose(found.mix[0], [0, 1, -3, 0, 0, 0], atol=1e-12)


def test_multiples_of_a_combination_follow_it() -> None:
    weights = random(7, 20)
    weights[2] = weights[0] + weights[1]
    weights[5] = 2 * weights[2]
    found = made(weights)
    assert found.gone.tolist() == [2, 5]
    np.testing.assert_allclose(found.mix[1, :2], [2, 2])


def test_nearly_dependent_rows_stay() -> None:
    weights = random(5, 20)
    weights[4] = weights[0] + weights[1] + 1e-7 * weights[4]
    assert not len(made(weights).gone)
