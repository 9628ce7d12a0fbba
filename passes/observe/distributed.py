"""Sums over processes: each takes its share of the batches, and all get the totals, or all rows.

Without ``torch.distributed`` there is one process, and values are returned as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed

__all__ = ["gather_over_processes", "own_batches", "sum_over_processes", "total"]


def _active() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def own_batches(count: int) -> tuple[int, ...]:
    """Return the numbers of the batches that this process takes, of ``count`` in all."""
    if not _active():
        return tuple(range(count))
    return tuple(range(distributed.get_rank(), count, distributed.get_world_size()))


def sum_over_processes(value: torch.Tensor) -> torch.Tensor:
    """Return the sum of a tensor over all processes (all-reduce). The argument isn't changed."""
    if not _active():
        return value
    summed = value.detach().clone()
    if distributed.get_backend() == "nccl":
        summed = summed.cuda()
    distributed.all_reduce(summed)
    return summed.to(value.device)


def total(value: float) -> float:
    """Return the sum of a number over all processes."""
    return float(sum_over_processes(torch.tensor([value], dtype=torch.float64)))


def gather_over_processes(value: torch.Tensor, dim: int) -> torch.Tensor:
    """Concatenate the tensors of all processes along a dimension (all-gather)."""
    if not _active():
        return value
    parts: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, value.cpu())
    return torch.cat(parts, dim).to(value.device)
