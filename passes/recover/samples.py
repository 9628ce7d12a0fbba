"""Which samples are trained on, in which order, and which the training is judged on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from graphprune.data.calibration import Calibration

__all__ = ["Samples", "split"]

HELD_OUT, MOST_HELD_OUT = 0.125, 512
"""Share of the calibration data that is not trained on, and how many samples of it at most."""


def split(data: Calibration) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Numbers of the batches to train on, and of those that the training is judged on."""
    return data.split(min(HELD_OUT, MOST_HELD_OUT / data.samples))


class Samples:
    """Draws steps from some of the batches, one pass after another."""

    def __init__(self, data: Calibration, numbers: Sequence[int], size: int, seed: int) -> None:
        self._batches, self._whole = data.batches, data.whole
        self._places = [
            (i, row) for i in numbers for row in range(1 if data.whole else _rows(data.batches[i]))
        ]
        self._size = 1 if data.whole else min(size, len(self._places))
        self._seed = seed

    def draw(self, step: int) -> list[Any]:
        """Flat inputs of a step: so many samples, or a batch that is whole."""
        passed, place = divmod(step, len(self._places) // self._size)
        order = _order(self._seed + passed, len(self._places))
        start = place * self._size
        places = [self._places[i] for i in order[start : start + self._size]]
        first = self._batches[places[0][0]]
        return (
            list(first)
            if self._whole
            else [
                torch.stack([self._batches[i][leaf][row] for i, row in places])
                if isinstance(value, torch.Tensor) and value.ndim
                else value
                for leaf, value in enumerate(first)
            ]
        )


@lru_cache(maxsize=1)
def _order(seed: int, count: int) -> tuple[int, ...]:
    """Numbers below the count, in an order of the seed's."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randperm(count, generator=generator).tolist())


def _rows(batch: Sequence[Any]) -> int:
    return next(len(x) for x in batch if isinstance(x, torch.Tensor) and x.ndim)
