"""Relations are read off samples, and imposed on draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphprune.passes.lossless.relations import (
    Relations,
    constants,
    joined,
    partition,
    surviving,
)


def draws(width: int, rows: int = 1, samples: int = 40) -> torch.Tensor:
    return torch.randn(
        width, rows, samples, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )


@pytest.mark.parametrize("rows", [1, 3])
def test_affine_functions_of_one_channel(rows: int) -> None:
    values = draws(6, rows)
    values[3] = -2.5 * values[1] + torch.arange(rows)[:, None]
    values[5] = values[0]
    values[4] = 7.0
    found = partition(values, np.zeros(6, dtype=np.int64))
    assert found.gone.tolist() == [3, 4, 5]
    np.testing.assert_allclose(found.mix[0, 1], -2.5)
    np.testing.assert_allclose(found.offset[0], np.arange(rows), atol=1e-12)
    assert found.constant.tolist() == [False, True, False]
    np.testing.assert_allclose(found.imposed(values), values)


def test_only_channels_of_one_class_are_compared() -> None:
    values = draws(4)
    values[2], values[3] = values[0], values[1]
    found = partition(values, np.asarray([0, 1, 0, 2]))
    assert found.gone.tolist() == [2]


def test_nearly_alike_is_not_alike() -> None:
    values = draws(4)
    values[2] = values[0] + 1e-8 * values[1]
    assert not len(partition(values, np.zeros(4, dtype=np.int64)).gone)
    values[2] = 1e6 * values[0]  # it would amplify rounding
    assert not len(partition(values, np.zeros(4, dtype=np.int64)).gone)


def test_few_samples_prove_nothing_but_constants() -> None:
    values = draws(3, samples=2)
    values[1] = 0.0
    assert partition(values, np.zeros(3, dtype=np.int64)).gone.tolist() == [1]


def test_infinities_are_no_constants() -> None:
    values = draws(3)
    values[0], values[1] = float("inf"), float("nan")
    assert not constants(values).any()


def test_combinations_survive_with_other_coefficients() -> None:
    before = Relations(4, np.asarray([3]), np.asarray([[1.0, 1.0, 0, 0]]), np.zeros((1, 1)))
    values = before.imposed(draws(4))
    scale = torch.tensor([2.0, 3.0, 4.0, 5.0], dtype=torch.float64)[:, None, None]
    found = surviving(values * scale + 1, before)
    np.testing.assert_allclose(found.mix[0], [2.5, 5 / 3, 0, 0])
    np.testing.assert_allclose(found.offset[0], 1 - 2.5 - 5 / 3)
    assert not len(surviving(values.relu(), before).gone)
    assert not len(surviving(values[:, :, :6], before).gone)  # too few samples


def test_classes_and_exceptions() -> None:
    mix = np.zeros((3, 5))
    mix[1, 0], mix[2, [0, 1]] = 2, 1
    found = Relations(5, np.asarray([2, 3, 4]), mix, np.zeros((3, 1)))
    assert found.classes().tolist() == [0, 1, -1, 0, 4]
    assert found.without(np.asarray([3])).gone.tolist() == [2, 4]


def test_what_depends_in_all_operands_may_depend_on_any_of_their_terms() -> None:
    one = Relations(
        4, np.array([1, 3]), np.array([[2.0, 0, 0, 0], [0, 0, 1.0, 0]]), np.ones((2, 1))
    )
    other = Relations(4, np.array([3]), np.array([[-0.5, 0, 0, 0]]), np.zeros((1, 1)))
    found = joined([one, other])
    assert found.gone.tolist() == [3]
    assert (found.mix != 0).tolist() == [[True, False, True, False]]
    assert found.offset.tolist() == [[0.0]]
