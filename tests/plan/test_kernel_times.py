"""Times of an operator: what is predicted between the points that were measured."""

from __future__ import annotations

import numpy as np
import pytest

from graphprune.plan.kernel_times import CLASSES, Grid, Kernel, KernelTimes, alignment


def times() -> KernelTimes:
    """Make times that only widths divided by 16 have fast."""
    even = Grid(((8, 16), (16, 32, 64)), (1.0, 2.0, 4.0, 2.0, 4.0, 8.0))
    odd = Grid(((7, 15), (15, 63)), (2.0, 8.0, 4.0, 16.0))
    classes = tuple(
        0.0 if i == j == CLASSES - 1 else 1.0 for i in range(CLASSES) for j in range(CLASSES)
    )
    return KernelTimes(even, odd, classes)


def test_between_the_points_it_is_linear_in_each_width() -> None:
    grid = times().even
    inner, outer = np.meshgrid(np.arange(8, 17), np.arange(16, 65), indexing="ij")
    # The seconds above are in * out / 128.
    np.testing.assert_allclose(grid.at([inner, outer]), inner * outer / 128)


def test_outside_it_is_that_of_the_nearest_point() -> None:
    grid = Grid(((8, 16),), (1.0, 3.0))
    np.testing.assert_allclose(grid.at([np.array([1, 8, 12, 16, 99])]), [1, 1, 2, 3, 3])


def test_widths_broadcast() -> None:
    found = times().at(np.array([[8], [16]]), np.array([[16, 32, 64]]))
    assert found.shape == (2, 3)


def test_odd_widths_are_looked_up_among_odd_ones() -> None:
    kernel = times()
    assert float(kernel.at(np.array(16), np.array(64))) == 8.0
    assert float(kernel.at(np.array(15), np.array(63))) == 16.0


@pytest.mark.parametrize(("width", "expected"), [(1, 0), (6, 1), (4, 2), (24, 3), (16, 4), (64, 4)])
def test_classes_of_widths(width: int, expected: int) -> None:
    assert int(alignment(np.array(width))) == expected


def test_kernels_that_differ_in_anything_have_keys_of_their_own() -> None:
    kernels = [
        Kernel("conv", (1, 0, 8, 8), (3, 16)),
        Kernel("conv", (1, 0, 8, 8), (16, 3)),
        Kernel("conv", (1, 0, 8, 8), (3, 16), tail=(("relu",),)),
        Kernel("conv", (1, 0, 8, 8), (3, 16), attributes=(("stride", (2, 2)),)),
    ]
    assert len({kernel.key for kernel in kernels}) == 4
    assert Kernel("conv", (1, 0, 8, 8), (3, 16)).key == kernels[0].key
