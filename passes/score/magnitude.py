"""Criterion by magnitude: L1 or L2 norm of all weights of a channel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.groups import Group, Occurrence
from graphprune.errors import OptionError
from graphprune.passes.observe import Observations

from .criterion import Scores
from .integer_weights import IntegerWeights

__all__ = ["Magnitude", "parameters", "per_channel"]


@dataclass(frozen=True)
class Magnitude:
    """Sum of ``|w| ** p`` over every parameter row that belongs to the channel.

    For p = 1 this is the filter norm of Li et al. 2017 (arXiv:1608.08710, section 3.1), taken
    over the whole group as in Fang et al. 2023 (DepGraph, arXiv:2301.12900, equation 4).
    Buffers, such as running statistics, don't count; weights that are stored as integers do, by
    their values.
    """

    needs_data: ClassVar[bool] = False
    p: int = 2

    def __call__(self, analysis: Analysis, observations: Observations | None = None) -> Scores:
        """Score all groups, each by its own sum, not normalised."""
        integers = IntegerWeights(analysis)
        return Scores({g.id: self._score(integers, g) for g in analysis.groups})

    def _score(self, integers: IntegerWeights, group: Group) -> NDArray[np.float64]:
        score = np.zeros(group.width)
        for tensor, where in chain(parameters(integers.analysis, group), integers.of(group)):
            score += per_channel(tensor.detach().abs().double() ** self.p, where)
        return score


def parameters(analysis: Analysis, group: Group) -> Iterator[tuple[torch.nn.Parameter, Occurrence]]:
    """Yield the parameters that a group occurs in, each axis once, whatever names the tensor has."""
    visited: set[tuple[int, int]] = set()
    for where in group.occurrences:
        tensor = analysis.tensors[where.tensor]
        key = (id(tensor), where.dim)
        if isinstance(tensor, torch.nn.Parameter) and key not in visited:
            visited.add(key)
            yield tensor, where


def per_channel(values: torch.Tensor, where: Occurrence) -> NDArray[np.float64]:
    """Sum a tensor over the rows of each channel: ``[width]``.

    Raises:
        OptionError: if the tensor has no values.
    """
    if values.is_meta:
        raise OptionError(
            f"{where.tensor} is on the meta device and has no values to score",
            hint="load the weights, or score without them: random",
            options=("score",),
        )
    others = [d for d in range(values.ndim) if d != where.dim]
    rows = (values.sum(dim=others) if others else values).cpu().numpy()
    return rows[where.rows].sum(axis=1)
