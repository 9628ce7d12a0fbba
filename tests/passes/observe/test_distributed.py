"""Sums over processes; alone they are what they are given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import distributed

from graphprune.passes.observe.distributed import (
    gather_over_processes,
    own_batches,
    sum_over_processes,
)


@pytest.fixture
def one(tmp_path: Path) -> Iterator[None]:
    """A group of one process."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


def test_alone_a_process_takes_everything_and_nothing_is_copied() -> None:
    value = torch.randn(3)
    assert own_batches(4) == (0, 1, 2, 3)
    assert own_batches(0) == ()
    assert sum_over_processes(value) is value
    assert gather_over_processes(value, 0) is value


@pytest.mark.usefixtures("one")
def test_a_group_of_one_does_the_same_on_a_copy() -> None:
    value = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert own_batches(3) == (0, 1, 2)
    summed = sum_over_processes(value)
    assert torch.equal(summed, value)
    summed.zero_()
    assert value.all()
    assert torch.equal(gather_over_processes(value.detach(), 1), value)


@pytest.mark.parametrize(("count", "processes"), [(7, 3), (2, 4), (6, 2), (0, 2)])
def test_each_batch_is_one_processs(
    count: int, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[int] = []
    for rank in range(processes):
        for name, value in (
            ("is_initialized", True),
            ("get_rank", rank),
            ("get_world_size", processes),
        ):
            monkeypatch.setattr(distributed, name, lambda value=value: value)
        own = own_batches(count)
        assert abs(len(own) - count / processes) < 1
        shares += own
    assert sorted(shares) == list(range(count))
