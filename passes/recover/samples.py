"""Samples of distillation: which are trained on, in which order, and which are held out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from graphprune.data.calibration import Calibration
from graphprune.ir.devices import put

__all__ = ["Samples", "split"]

HELD_OUT, MOST_HELD_OUT = 0.125, 512
"""Share of the calibration data that is held out from training, and the most samples of it."""


def split(data: Calibration) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the numbers of the batches to train on, and of those that are held out."""
    return data.split(min(HELD_OUT, MOST_HELD_OUT / data.samples))


class Samples:
    """Sampler of training steps from some of the batches, epoch after epoch, in a seeded order."""

    def __init__(self, data: Calibration, numbers: Sequence[int], size: int, seed: int) -> None:
        self._batches, self._whole = data.batches, data.whole
        self._places = [
            (i, row) for i in numbers for row in range(1 if data.whole else _rows(data.batches[i]))
        ]
        self._size = 1 if data.whole else min(size, len(self._places))
        self._seed, self._device = seed, data.device

    def draw(self, step: int) -> list[Any]:
        """Return the flat inputs of a step, on the device: ``size`` samples, or a batch that can't be split."""
        passed, place = divmod(step, len(self._places) // self._size)
        order = _order(self._seed + passed, len(self._places))
        start = place * self._size
        places = [self._places[i] for i in order[start : start + self._size]]
        first = self._batches[places[0][0]]
        drawn = (
            list(first)
            if self._whole
            else [
                torch.stack([self._batches[i][leaf][row] for i, row in places])
                if isinstance(value, torch.Tensor) and value.ndim
                else value
                for leaf, value in enumerate(first)
            ]
        )
        return put(drawn, self._device)


@lru_cache(maxsize=1)
def _order(seed: int, count: int) -> tuple[int, ...]:
    """Return a seeded permutation of the numbers below ``count``."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randperm(count, generator=generator).tolist())


def _rows(batch: Sequence[Any]) -> int:
    return next(len(x) for x in batch if isinstance(x, torch.Tensor) and x.ndim)
