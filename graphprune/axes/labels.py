"""Channel labels, the unknowns of the axis algebra, in a union-find structure.

A *row* of an axis carries the set of labels whose removal removes that row. An axis of ``n``
rows is an integer array ``[n, k]``: row ``i`` holds up to ``k`` labels, padded with ``FROZEN``
(0), which stands for "can't be removed". An axis without labels, such as a spatial one, is
``[n, 0]``. Arrays may hold stale labels; ``resolve`` brings them up to date.

Three things can happen to a label, and none is ever undone, so passes over the graph that
are repeated until nothing changes must end:

* two labels are *united*: removing one removes the other;
* a label is *frozen*: united with label 0;
* a label is *refined* into a set of labels: removing any of them removes it.

Every union is logged with the link that asked for it, so that "why is this frozen?" is a
path in the log.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FROZEN", "Axis", "Event", "Labels", "unlabelled"]

Axis = NDArray[np.int64]
"""Labels of the rows of an axis, ``[rows, k]``; see the module's docstring."""

FROZEN = 0


def unlabelled(size: int) -> Axis:
    """Make an axis of ``size`` rows without labels, such as a spatial, batch or token axis."""
    return np.empty((size, 0), dtype=np.int64)


@dataclass(frozen=True)
class Event:
    """One entry of the log: ``link`` united ``left[i]`` with ``right[i]``, or refined it into a set with that in it."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    link: int
    refines: bool = False


class Labels:
    """The label store: vectorised union-find over labels, with refinement and a log of unions.

    The root of a class is its smallest label, so that frozen classes have root 0.
    """

    def __init__(self) -> None:
        self._parent = np.zeros(1024, dtype=np.int64)
        self._parts = np.zeros((1024, 2), dtype=np.int64)
        self._refined = np.zeros(1024, dtype=bool)
        self._count = 1
        self.version = 0
        self._resolved: dict[int, tuple[Axis, Axis]] = {}
        self._resolved_at = 0
        self.log: list[Event] = []

    def __len__(self) -> int:
        """Count the labels, the frozen one included."""
        return self._count

    def fresh(self, size: int) -> Axis:
        """Make an axis of new labels, one for each row: ``[size, 1]``."""
        start, self._count = self._count, self._count + size
        while self._count > len(self._parent):
            self._parent = np.concatenate([self._parent, np.zeros_like(self._parent)])
            self._parts = np.concatenate([self._parts, np.zeros_like(self._parts)])
            self._refined = np.concatenate([self._refined, np.zeros_like(self._refined)])
        made = np.arange(start, self._count, dtype=np.int64)
        self._parent[made] = made
        return made[:, None]

    def find(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Find the root of the class of every label, in an array of any shape."""
        roots = self._parent[labels]
        while True:
            further = self._parent[roots]
            if (further == roots).all():
                return roots
            roots = further

    def resolve(self, axis: Axis) -> Axis:
        """Rewrite an axis in live labels: each row a set in descending order, zeros last, trimmed."""
        if axis.shape[1] == 0:
            return axis
        if self._resolved_at != self.version:
            self._resolved, self._resolved_at = {}, self.version
        # the entry keeps the axis alive, so that no other gets its id
        if id(axis) not in self._resolved:
            self._resolved[id(axis)] = axis, self._live(axis)
        return self._resolved[id(axis)][1]

    def _live(self, axis: Axis) -> Axis:
        rows = self.find(axis)
        while (refined := self._refined[rows]).any():
            first = np.where(refined, self._parts[rows, 0], rows)
            second = np.where(refined, self._parts[rows, 1], FROZEN)
            rows = self.find(np.concatenate([first, second], axis=1))
        return _as_sets(rows)

    def unite(self, left: NDArray[np.int64], right: NDArray[np.int64], link: int) -> None:
        """Unite ``left[i]`` with ``right[i]``, in flat arrays of resolved, unrefined labels."""
        a, b = self.find(left), self.find(right)
        differ = a != b
        if not differ.any():
            return
        self.version += 1
        self.log.append(Event(left[differ], right[differ], link))
        while differ.any():
            low, high = np.minimum(a, b)[differ], np.maximum(a, b)[differ]
            np.minimum.at(self._parent, high, low)
            a, b = self.find(low), self.find(high)
            differ = a != b

    def freeze(self, axis: Axis, link: int) -> None:
        """Freeze every label of an axis: none of its rows may be removed any more."""
        rows = self.resolve(axis)
        if rows.shape[1] == 0:
            return
        labels = np.unique(rows)
        labels = labels[labels != FROZEN]
        self.unite(labels, np.full_like(labels, FROZEN), link)

    def refine(self, labels: NDArray[np.int64], parts: Axis, link: int) -> None:
        """Replace each distinct root ``labels[i]`` by the set ``parts[i]``: removing any of it removes the label.

        A set of more than two is a chain of pairs, over labels made for the purpose. Frozen
        parts drop out, see ``resolve``.
        """
        last = parts[:, -1]
        for column in parts.T[-2:0:-1]:
            joints = self.fresh(len(labels))[:, 0]
            self._set_parts(joints, column, last)
            last = joints
        self._set_parts(labels, parts[:, 0], last)
        self.version += 1
        which, column = np.nonzero(parts)
        self.log.append(Event(labels[which], parts[which, column], link, refines=True))

    def _set_parts(
        self, labels: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64]
    ) -> None:
        self._parts[labels, 0] = first
        self._parts[labels, 1] = second
        self._refined[labels] = True


def _as_sets(rows: Axis) -> Axis:
    """Sort each row in descending order without repetitions, and drop columns that are all zero."""
    if rows.shape[1] > 1:
        rows = -np.sort(-rows, axis=1)
        repeated = rows[:, 1:] == rows[:, :-1]
        if repeated.any():
            rows = rows.copy()
            rows[:, 1:][repeated] = FROZEN
            rows = -np.sort(-rows, axis=1)
    used = int((rows != FROZEN).any(axis=0).sum())
    return rows[:, :used]
