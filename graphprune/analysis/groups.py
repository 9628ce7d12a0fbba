"""Group labels that are interchangeable: their channels can be cut one by one at equal cost.

Two labels are in one group when they occur the same number of times, beside the same other labels, on
every axis of the program (colour refinement). Removing any three channels of a group then costs
the same, so every axis size is a polynomial in the widths of the groups.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from graphprune.axes.labels import FROZEN, Axis
from graphprune.axes.polynomial import Polynomial
from graphprune.axes.unify import pad_columns

__all__ = ["Group", "Grouping", "Occurrence", "group_labels"]


@dataclass(frozen=True)
class Occurrence:
    """Rows of one axis of a parameter or buffer that belong to a group's channels.

    Attributes:
        tensor: qualified name of the parameter or buffer.
        dim: the axis.
        rows: ``[width, m]``: the rows of the axis that go with each channel.
    """

    tensor: str
    dim: int
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """Channels that can be cut one by one, each with every parameter row it is coupled to.

    Attributes:
        id: stable name, after the first parameter the group occurs in.
        labels: ``[width]``, the labels of the channels, in the order plans count them.
        occurrences: where the channels lie.
    """

    id: str
    labels: NDArray[np.int64]
    occurrences: tuple[Occurrence, ...]

    @property
    def width(self) -> int:
        """Number of the group's channels in the dense network."""
        return len(self.labels)

    @property
    def run(self) -> int:
        """Number of neighbouring rows that each channel consists of wherever it lies: 64 of a head of this size, mostly 1."""
        return math.gcd(*(_run_length(where.rows) for where in self.occurrences))


def _run_length(rows: NDArray[np.int64]) -> int:
    """Return the greatest common divisor of the lengths of runs of neighbours, of rows ``[channels, m]``."""
    begins = np.ones(rows.shape, dtype=bool)
    begins[:, 1:] = np.diff(rows, axis=1) != 1
    places = np.append(np.flatnonzero(begins), rows.size)
    return int(np.gcd.reduce(np.diff(places)))


@dataclass(frozen=True)
class Grouping:
    """All groups of a graph, and for every label the number of its group (-1: none)."""

    groups: tuple[Group, ...]
    of_label: NDArray[np.int64]
    _sizes: dict[tuple[int, bytes], Polynomial] = field(default_factory=dict, repr=False)

    def size(self, axis: Axis) -> Polynomial:
        """Express the length of a resolved axis as a polynomial in the widths."""
        if axis.shape[1] == 0:
            return Polynomial.constant(len(axis))
        name = axis.shape[1], axis.tobytes()
        if name not in self._sizes:
            self._sizes[name] = self._size(axis)
        return self._sizes[name]

    def _size(self, axis: Axis) -> Polynomial:
        terms: dict[tuple[int, ...], float] = {}
        for key, rows in _classes(axis, self.of_label):
            dense = math.prod(self.groups[g].width for g in key)
            terms[key] = terms.get(key, 0.0) + len(rows) / dense
        return Polynomial(terms)

    def irregular(self, axis: Axis) -> NDArray[np.int64]:
        """Find labels that keep an axis from being a product of groups, and so must be frozen.

        Rows that belong to several groups must hold every combination equally often.
        """
        irregular: list[NDArray[np.int64]] = []
        for key, rows in _classes(axis, self.of_label):
            if len(key) < 2:
                continue
            combinations, counts = np.unique(axis[rows], axis=0, return_counts=True)
            dense = np.prod([self.groups[g].width for g in key])
            if len(set(key)) == len(key) and len(combinations) == dense and np.ptp(counts) == 0:
                continue
            smallest = min(key, key=lambda g: (self.groups[g].width, -g))
            irregular.append(self.groups[smallest].labels)
        return np.concatenate(irregular) if irregular else np.empty(0, dtype=np.int64)


def _classes(
    axis: Axis, of_label: NDArray[np.int64]
) -> list[tuple[tuple[int, ...], NDArray[np.int64]]]:
    """Collect the rows of an axis by the groups they belong to."""
    if axis.shape[1] == 0:
        return [((), np.arange(len(axis)))]
    keys = -np.sort(-of_label[axis], axis=1)
    names, index = np.unique(keys, axis=0, return_inverse=True)
    index = index.reshape(-1)
    return [
        (tuple(sorted(int(g) for g in name if g >= 0)), np.flatnonzero(index == i))
        for i, name in enumerate(names)
    ]


def group_labels(
    axes: Sequence[Axis], parameters: Mapping[tuple[str, int], Axis], count: int
) -> Grouping:
    """Partition the labels that occur in parameters into groups.

    Args:
        axes: every distinct axis of the program, resolved.
        parameters: resolved axes of parameters and buffers by (name, dim), in model order.
        count: number of labels in the store.
    """
    colours = _refine_colours(axes, count)
    order = _first_occurrence(parameters, count)
    labels = np.flatnonzero(order >= 0)
    labels = labels[np.argsort(order[labels], kind="stable")]
    of_label = np.full(count, -1, dtype=np.int64)
    members: dict[int, list[int]] = {}
    for label in labels:
        members.setdefault(int(colours[label]), []).append(int(label))
    for number, group in enumerate(members.values()):
        of_label[group] = number
    position = np.zeros(count, dtype=np.int64)
    for group in members.values():
        position[group] = np.arange(len(group))
    sizes = [len(group) for group in members.values()]
    occurrences = _occurrences(parameters, of_label, position, sizes)
    names = _names(occurrences, parameters)
    return Grouping(
        tuple(
            Group(name, np.asarray(group), tuple(where))
            for name, group, where in zip(names, members.values(), occurrences, strict=True)
        ),
        of_label,
    )


def _first_occurrence(parameters: Mapping[tuple[str, int], Axis], count: int) -> NDArray[np.int64]:
    """Number labels by their first place in the parameters; -1: in none."""
    order = np.full(count, -1, dtype=np.int64)
    start = 0
    for axis in parameters.values():
        flat = axis.reshape(-1)
        new = np.flatnonzero((flat != FROZEN) & (order[flat] < 0))
        names, first = np.unique(flat[new], return_index=True)
        order[names] = start + new[first]
        start += len(flat)
    return order


def _refine_colours(axes: Sequence[Axis], count: int) -> NDArray[np.int64]:
    """Refine colours of labels and of the rows they occur in, as 1-dimensional Weisfeiler-Leman does."""
    width = max((axis.shape[1] for axis in axes), default=0)
    if width == 0:
        return np.zeros(count, dtype=np.int64)
    rows = np.concatenate([pad_columns(axis, width) for axis in axes])
    axis_of = np.repeat(np.arange(len(axes)), [len(a) for a in axes])
    used = rows[:, 0] != FROZEN
    rows, axis_of = rows[used], axis_of[used].astype(np.uint64)
    colours = np.zeros(count, dtype=np.uint64)
    colours[FROZEN] = 1
    distinct = 0
    while True:
        company = _hashed(colours[rows]).sum(axis=1, dtype=np.uint64)
        signature = _hashed(company + _hashed(axis_of + np.uint64(2)))
        seen = _hashed(colours)
        for column in rows.T:
            np.add.at(seen, column, signature)
        names, ranks = np.unique(seen, return_inverse=True)
        colours = ranks.reshape(-1).astype(np.uint64)
        if len(names) == distinct:
            return colours.astype(np.int64)
        distinct = len(names)


def _hashed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash 64-bit values by the finaliser of splitmix64 (Steele, Lea & Flood 2014), a bijection."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _occurrences(
    parameters: Mapping[tuple[str, int], Axis],
    of_label: NDArray[np.int64],
    position: NDArray[np.int64],
    sizes: Sequence[int],
) -> list[list[Occurrence]]:
    occurrences: list[list[Occurrence]] = [[] for _ in sizes]
    for (tensor, dim), axis in parameters.items():
        row, column = np.nonzero(axis)
        labels = axis[row, column]
        for group in np.unique(of_label[labels]):
            mine = of_label[labels] == group
            if group < 0:
                continue
            order = np.argsort(position[labels[mine]], kind="stable")
            rows = row[mine][order].reshape(sizes[group], -1)
            occurrences[group].append(Occurrence(tensor, dim, rows))
    return occurrences


def _names(
    occurrences: Sequence[Sequence[Occurrence]], parameters: Mapping[tuple[str, int], Axis]
) -> list[str]:
    """Name each group after the module whose weight makes its channels; ``#2`` where several share.

    That is the first weight with the group on axis 0, or else the first parameter.
    """
    taken: dict[str, int] = {}
    names: list[str] = []
    for where in occurrences:
        first = next((o for o in where if o.dim == 0 and (o.tensor, 1) in parameters), where[0])
        name = first.tensor.rpartition(".")[0] or first.tensor
        taken[name] = taken.get(name, 0) + 1
        names.append(name if taken[name] == 1 else f"{name}#{taken[name]}")
    return names
