"""What the layers that read a group can do without, and how their weights take it over.

A channel ``j`` that is ``sum over i of a_i * channel i + c`` wherever it is read goes: each reader adds
``a_i`` times its column ``j`` to its column ``i``, and what ``c`` gives to its bias, or to the running mean
of the BatchNorm behind it. Where zeros are padded, ``c`` isn't the same at all positions. It is then
expressed by another constant channel, which stays, or ``j`` stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.groups import Group
from graphprune.errors import InternalError
from graphprune.ir.nodes import bind, is_continuous
from graphprune.ops import form_of
from graphprune.ops.float64 import to_float64
from graphprune.passes.prune.merge import with_rows_added
from graphprune.passes.score.interpreter import rows_of

from .places import Known, Place, place_of
from .relations import Relations
from .shifts import Shifts

__all__ = ["Reader", "Readers"]


@dataclass(frozen=True)
class Reader:
    """One call that reads a group, and the channels that it can do without.

    Attributes:
        relations: these channels, by those that it goes on reading.
        weight: name of the stored weight, dimension and rows ``[width, m]`` of the group in it;
            ``None`` where it can't be changed: then all of ``relations`` are zero channels.
        node: the call.
        place: of the group in the value that is read.
        unread: channels that it does without as it is, as their weights are zero.
    """

    relations: Relations
    weight: tuple[str, int, NDArray[np.int64]] | None = None
    node: fx.Node | None = None
    place: Place | None = None
    unread: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @property
    def spared(self) -> NDArray[np.int64]:
        """The channels that the reader can do without, ascending."""
        return np.union1d(self.relations.gone, self.unread)


@dataclass(frozen=True)
class Readers:
    """Finder of the readers of groups.

    Attributes:
        analysis: of the dense program.
        known: relations at the values, by node and group.
    """

    analysis: Analysis
    known: Mapping[tuple[fx.Node, str], Known]

    def of(self, group: Group, *, several: bool) -> list[Reader]:
        """List what reads a group.

        Args:
            group: a group of the analysis.
            several: use combinations of several channels, not only of one.
        """
        found: list[Reader] = []
        for node, facts in self.analysis.facts.items():
            for statistic in facts.statistics:
                if group.id in self.analysis.groups_on([
                    *statistic.counted,
                    *statistic.axes.values(),
                ]):
                    value = bind(node)[statistic.argument]
                    zero = self._zeros(value, group) if statistic.exact else self._none(group)
                    found.append(Reader(zero))
            for contraction in facts.contractions:
                axis = self.analysis.labels.resolve(contraction.axis)
                if not np.isin(axis, group.labels).any():
                    continue
                operand = contraction.operand(bind(node))
                rows = rows_of(axis, group)
                layer = self._layer(node, operand, group, rows, contraction.dim, several=several)
                reader = layer or Reader(self._zeros(self._value(node, operand), group))
                unread = self._unread(operand, contraction.dim, rows)
                # Channels that take over what others did are used, read or not.
                used = np.flatnonzero(reader.relations.mix.any(0))
                found.append(replace(reader, unread=np.setdiff1d(unread, used)))
        return found

    @cached_property
    def _shifts(self) -> Shifts:
        return Shifts(self.analysis)

    def _unread(self, operand: Any, dim: int, rows: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Return the channels whose stored weights are zero."""
        weight = None
        if isinstance(operand, fx.Node) and operand.op == "get_attr" and rows is not None:
            weight = self.analysis.tensors.get(str(operand.target))
        if weight is None or rows is None or not is_continuous(weight):
            return np.zeros(0, dtype=np.int64)
        columns = weight.detach().cpu().movedim(dim, 0)[torch.from_numpy(rows)].flatten(1)
        return np.flatnonzero((columns == 0).all(1).numpy())

    def _value(self, node: fx.Node, operand: Any) -> Any:
        """Return the operand of a contraction that depends on the inputs."""
        form = form_of(node)
        return operand if form is None else bind(node)[form.value]

    def _layer(
        self,
        node: fx.Node,
        operand: Any,
        group: Group,
        rows: NDArray[np.int64] | None,
        dim: int,
        *,
        several: bool,
    ) -> Reader | None:
        """Make the reader of a layer whose weight can be changed."""
        form = form_of(node)
        if form is None or rows is None or not self._shifts.is_own(operand):
            return None
        value = bind(node)[form.value]
        place = self._place(value, group)
        known = self.known.get((value, group.id)) if isinstance(value, fx.Node) else None
        if place is None or known is None:
            return None
        relations = known.several if several else known.single
        shifts = self._shifts
        if not shifts.taker(node) or shifts.of(node, place, relations, random=True) is None:
            relations = _without_offsets(relations)
        return Reader(relations, (str(operand.target), dim, rows), node, place)

    def _zeros(self, value: Any, group: Group) -> Relations:
        """Return the channels that are zero in a value, as relations."""
        known = self.known.get((value, group.id)) if isinstance(value, fx.Node) else None
        if known is None:
            return self._none(group)
        single = known.single
        zero = single.constant & ~single.offset.any(1)
        return single.without(single.gone[~zero])

    def _none(self, group: Group) -> Relations:
        return Relations.none(group.width, 1)

    def _place(self, value: Any, group: Group) -> Place | None:
        layout = self.analysis.layouts.get(value)
        return place_of(self.analysis, layout, group) if isinstance(layout, tuple) else None

    def fold(
        self, reader: Reader, gone: NDArray[np.int64], tensors: dict[str, torch.Tensor]
    ) -> None:
        """Let a reader do without some channels: change its tensors, in float64, in ``tensors``."""
        if reader.weight is None or reader.node is None or reader.place is None:
            return
        name, dim, rows = reader.weight
        relations = reader.relations.without(np.setdiff1d(reader.relations.gone, gone))
        if relations.offset.any():
            taker = self._shifts.taker(reader.node)
            shift = self._shifts.of(reader.node, reader.place, relations)
            if taker is None or shift is None:
                raise InternalError("offsets were left where they don't fold")
            self._put(tensors, taker[0], self._get(tensors, taker[0]) + taker[1] * shift)
        mixed = with_rows_added(self._get(tensors, name), dim, rows, relations.gone, relations.mix)
        self._put(tensors, name, mixed)

    def _get(self, tensors: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
        found = tensors.get(name)
        return to_float64(self.analysis.tensors[name].detach().cpu()) if found is None else found

    def _put(self, tensors: dict[str, torch.Tensor], name: str, value: torch.Tensor) -> None:
        old = self.analysis.tensors[name]
        tensors |= {n: value for n, tensor in self.analysis.tensors.items() if tensor is old}


def _without_offsets(relations: Relations) -> Relations:
    """Express offsets by the first constant channel that isn't zero, which then stays, or leave channels out."""
    offset = relations.offset
    leaders = np.flatnonzero(relations.constant & (offset != 0).all(1))
    if not len(leaders):
        return relations.without(relations.gone[offset.any(1)])
    leader = int(leaders[0])
    ratio = offset / offset[leader]
    even = np.ptp(ratio, axis=1) == 0
    mix = relations.mix.copy()
    mix[even, relations.gone[leader]] = ratio[even, 0]
    told = replace(relations, mix=mix, offset=np.where(even[:, None], 0.0, offset))
    left = np.union1d(relations.gone[~even], relations.gone[[leader]])
    return told.without(left)
