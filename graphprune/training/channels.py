"""The norms of all channels on the live parameters, and channels scaled in place.

Which rows of which parameters belong to a channel comes from the analysis. A channel has rows in
all layers that are coupled to it: those that make it, those that normalise it, those that read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from graphprune.analysis.analyse import Analysis
from graphprune.ir.nodes import arguments, is_continuous
from graphprune.passes.score.magnitude import parameters

from .shrinkable import unshrinkable

__all__ = ["Channels", "Rows"]


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one axis of a parameter that belong to channels; a row of several channels is listed for each.

    Attributes:
        parameter: the live parameter.
        dim: the axis.
        rows: ``[n]``: numbers of rows.
        channels: ``[n]``: the channel of each, numbered over all groups.
        owned: whether these rows are the parameter's share in disjoint blocks; see ``Channels.norms``.
        reads: whether a layer sums over this axis: without its row, a channel isn't read there.
    """

    parameter: nn.Parameter
    dim: int
    rows: Tensor
    channels: Tensor
    owned: bool
    reads: bool = False

    @property
    def other_dims(self) -> list[int]:
        """The axes that a sum over each row runs over."""
        return [d for d in range(self.parameter.ndim) if d != self.dim]


@dataclass(frozen=True, eq=False)
class Channels:
    """The channels of all groups, in the order of the groups, on parameters that are being trained.

    Attributes:
        places: where they lie.
        group: ``[channels]``: the number of the group of each.
        silenced: ``[channels]``, booleans: whether nothing reads the channel once its rows are zero
            where ``Rows.reads``.
    """

    places: tuple[Rows, ...]
    group: Tensor
    silenced: Tensor

    @staticmethod
    def of(analysis: Analysis) -> Channels:
        """Find the rows of all channels on those parameters of an analysis that are trained.

        Left out are rows that mustn't be zero, such as those that weight normalisation divides by their norm.
        """
        found: dict[tuple[int, int], tuple[nn.Parameter, list[Tensor], list[Tensor]]] = {}
        start, left_out = 0, unshrinkable(analysis)
        for group in analysis.groups:
            for parameter, where in parameters(analysis, group):
                if not (parameter.requires_grad and is_continuous(parameter)):
                    continue
                if (id(parameter), where.dim) in left_out:
                    continue
                _, rows, channels = found.setdefault(
                    (id(parameter), where.dim), (parameter, [], [])
                )
                rows.append(torch.from_numpy(where.rows.reshape(-1)))
                numbers = torch.arange(start, start + group.width)
                channels.append(numbers.repeat_interleave(where.rows.shape[1]))
            start += group.width
        first = {key: min(dim for other, dim in found if other == key) for key, _ in found}
        reading, others = _contracted(analysis)
        places = tuple(
            Rows(
                parameter,
                dim,
                torch.cat(rows),
                torch.cat(channels),
                first[key] == dim,
                (key, dim) in reading,
            )
            for (key, dim), (parameter, rows, channels) in found.items()
        )
        widths = torch.from_numpy(np.asarray(analysis.widths))
        group = torch.arange(len(widths)).repeat_interleave(widths)
        read = torch.zeros(len(group), dtype=torch.bool)
        for place in places:
            read[place.channels] |= place.reads
        alone = torch.tensor([g.id not in others for g in analysis.groups], dtype=torch.bool)
        return Channels(places, group, read & alone[group])

    def __len__(self) -> int:
        """Count the channels of all groups."""
        return len(self.group)

    @property
    def device(self) -> torch.device:
        """Where the norms are: with the first parameter."""
        return self.places[0].parameter.device if self.places else torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """The precision of sums that go into a loss: that of the parameters, at least float32."""
        dtypes = [place.parameter.dtype.to_real() for place in self.places]
        return max((*dtypes, torch.float32), key=lambda dtype: dtype.itemsize)

    @cached_property
    def reading(self) -> tuple[Rows, ...]:
        """The places where layers sum over channels."""
        return tuple(place for place in self.places if place.reads)

    @cached_property
    def _owned(self) -> tuple[Rows, ...]:
        return tuple(place for place in self.places if place.owned)

    def norms(self, *, disjoint: bool = False) -> Tensor:
        """Compute the Euclidean norm of every channel: float64 ``[channels]``, differentiable.

        This is over all rows that are coupled (Fang et al. 2023, DepGraph, arXiv:2301.12900, equation 5).
        An element of a weight then counts twice, for the channel that it makes and the one that it reads. Where a
        norm is zero, so is its gradient.

        Args:
            disjoint: count each parameter on its first axis with channels only, so that no element
                counts twice.
        """
        places = self._owned if disjoint else self.places
        if not places:
            return torch.zeros(len(self), dtype=torch.float64)
        device, wide = self.device, _wide(self.device)
        sums, rows, start = [], [], 0
        for place in places:
            parameter = place.parameter
            real = torch.view_as_real(parameter) if parameter.is_complex() else parameter[..., None]
            square = real.to(self.dtype).square().sum(-1)
            size = square.sum(place.other_dims) if place.other_dims else square
            sums.append(size.to(device, wide))
            rows.append(place.rows + start)
            start += len(size)
        index = torch.cat([place.channels for place in places]).to(device)
        picked = torch.cat(sums)[torch.cat(rows).to(device)]
        square = torch.zeros(len(self), dtype=wide, device=device).index_add(0, index, picked)
        some = square > 0
        return torch.where(some, torch.where(some, square, 1.0).sqrt(), 0.0)

    @torch.no_grad()
    def scale(self, factors: Tensor, *, disjoint: bool = False) -> None:
        """Multiply all rows of each channel by a factor, in place.

        Args:
            factors: ``[channels]``, not negative. A row of several channels is multiplied by each of theirs.
            disjoint: as for ``norms``.
        """
        if bool((factors == 1).all()):
            return
        logs = factors.log()
        for place in self._owned if disjoint else self.places:
            parameter = place.parameter
            own = logs.to(parameter.device)
            rows, channels = place.rows.to(own.device), place.channels.to(own.device)
            sums = torch.zeros(parameter.shape[place.dim], dtype=own.dtype, device=own.device)
            factor = sums.index_add(0, rows, own[channels]).exp()
            view = [-1 if d == place.dim else 1 for d in range(parameter.ndim)]
            parameter.mul_(factor.to(parameter.dtype).view(view))

    def means(self, values: Tensor, groups: int) -> Tensor:
        """Average values over the channels of each group, and give each channel its group's mean."""
        group = self.group.to(values.device)
        zeros = torch.zeros(groups, dtype=values.dtype, device=values.device)
        sums = zeros.index_add(0, group, values)
        return (sums / zeros.index_add(0, group, torch.ones_like(values)))[group]

    def spread(self, values: Sequence[float]) -> Tensor:
        """Give each channel the value of its group: ``[channels]``."""
        return torch.tensor(values, dtype=_wide(self.device))[self.group].to(self.device)


def _contracted(analysis: Analysis) -> tuple[set[tuple[int, int]], set[str]]:
    """Find the axes of trained tensors that calls sum over, and the groups that are summed over elsewhere too.

    Returns:
        ``id`` and dimension of the axes; ids of the groups.
    """
    found: set[tuple[int, int]] = set()
    others: set[str] = set()
    for node, facts in analysis.facts.items():
        values = arguments(node, lambda operand: operand)
        for contraction in facts.contractions:
            operand = contraction.operand(values)
            stored = analysis.tensors.get(operand.target) if operand.op == "get_attr" else None
            if stored is not None and stored.requires_grad:
                found.add((id(stored), contraction.dim))
            else:
                others.update(analysis.groups_on([contraction.axis]))
    return found, others


def _wide(device: torch.device) -> torch.dtype:
    """The widest precision that a device has: sums in it hardly depend on their order."""
    return torch.float32 if device.type == "mps" else torch.float64
