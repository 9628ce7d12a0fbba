"""Rows of several batches are joined, also where there are none."""

from __future__ import annotations

import torch

from graphprune.passes.recover.rows import joined


def test_rows_of_all_batches_are_joined() -> None:
    parts = [torch.randn(2, n, 3) for n in (4, 0, 1)]
    assert torch.equal(joined(parts, torch.zeros(2, 3)), torch.cat(parts, 1))


def test_a_process_may_have_no_rows() -> None:
    assert joined([], torch.zeros(2, 3)).shape == (2, 0, 3)
