"""Which kept channel a removed one is matched with, and by which factor."""

from __future__ import annotations

import numpy as np
import torch

from graphprune.passes.prune.match_channels import by_angle, by_distance

KEPT, GONE = np.array([0, 2]), np.array([1, 3])


def test_a_multiple_is_matched_with_its_factor() -> None:
    rows = torch.tensor([[1.0, 0], [-2, 1e-3], [0, 2], [0.1, 3]], dtype=torch.float64)
    source, factor = by_angle(rows, KEPT, GONE)
    assert source.tolist() == [2, 2]
    np.testing.assert_allclose(factor, [5e-4, 1.5])
    assert by_angle(-rows.abs() * torch.tensor([[1], [-1], [1], [-1]]), KEPT, GONE)[1].tolist() == [
        0,
        0,
    ]


def test_silent_channels_are_matched_with_none() -> None:
    rows = torch.zeros(4, 2, dtype=torch.float64)
    assert by_angle(rows, KEPT, GONE)[1].tolist() == [0, 0]
    rows[1] = 1
    assert by_distance([rows], KEPT, GONE)[1].tolist() == [0, 1]


def test_the_nearest_in_all_parts_is_taken_whole() -> None:
    parts = [torch.tensor([[1.0], [1.1], [5], [5]], dtype=torch.float64)] * 2
    source, factor = by_distance(parts, KEPT, GONE)
    assert (source.tolist(), factor.tolist()) == ([0, 2], [1, 1])
    far = torch.tensor([[9.0], [-1], [-9], [1]], dtype=torch.float64)
    assert by_distance([*parts, far], KEPT, GONE)[1].tolist() == [0, 0]
