"""Rows of a regression: inputs of a layer at some of its output positions, and what it should give there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graphprune.passes.observe.distributed import gather_over_processes

__all__ = ["Rows", "joined"]


@dataclass(frozen=True)
class Rows:
    """Sample of rows of one batch, for a layer of ``g`` groups.

    Attributes:
        inputs: ``[g, n, u]``, float32.
        targets: ``[g, n, o]``: what ``inputs @ weightᵀ + bias + base`` should be.
        base: ``[g, n, o]``: what is added after the layer, such as a shortcut; ``[1, 1, 1]``: 0.
    """

    inputs: Tensor
    targets: Tensor
    base: Tensor


def joined(parts: Sequence[Tensor], like: Tensor) -> Tensor:
    """Concatenate rows ``[g, n, m]`` of all processes, which may have none; ``like`` is ``[g, m]``."""
    near = parts[0] if parts else like
    none = near.new_zeros(len(like), 0, like.shape[1], dtype=torch.float32)
    return gather_over_processes(torch.cat([none, *parts], 1), 1)
