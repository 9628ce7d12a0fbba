"""Split batches of calibration data into chunks of few samples, where all inputs have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import fx

from graphprune.data.calibration import Calibration

__all__ = ["batched_inputs", "parts"]


def batched_inputs(module: fx.GraphModule, data: Calibration) -> list[bool]:
    """Return per input whether its leading dimension is the dynamic batch; of none, if batches stay whole."""
    if data.whole:
        return [False for _ in data.batches[0]]
    leading: list[Any] = []
    for node in module.graph.find_nodes(op="placeholder"):
        value = node.meta.get("val")
        first = value.shape[0] if isinstance(value, torch.Tensor) and value.ndim else 1
        leading.append(first.node.expr if isinstance(first, torch.SymInt) else None)
    known = {symbol for symbol in leading if symbol is not None}
    return [len(known) == 1 and symbol is not None for symbol in leading]


def parts(batch: Sequence[Any], split: Sequence[bool], size: int) -> Iterator[tuple[Any, ...]]:
    """Yield a batch in chunks of at most ``size`` samples, or whole where no input is split.

    Args:
        batch: flat inputs.
        split: which of them are, see ``batched_inputs``.
        size: most samples of a chunk.
    """
    lengths = [len(x) for x, s in zip(batch, split, strict=True) if s]
    if not lengths:
        yield tuple(batch)
    for start in range(0, lengths[0] if lengths else 0, size):
        yield tuple(x[start : start + size] if s else x for x, s in zip(batch, split, strict=True))
