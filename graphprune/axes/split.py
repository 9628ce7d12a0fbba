"""Split an axis into a product of axes, refining its labels where needed.

This is where refinement happens: ``view(B, heads, dim)`` turns channel labels into a head label
and a dim label each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .labels import Axis, Labels, unlabelled
from .unify import merge, tie

__all__ = ["split"]


def split(labels: Labels, axis: Axis, sizes: Sequence[int], link: int) -> list[Axis]:
    """Split one axis into a row-major product of axes of the given sizes.

    A label that fills whole slices across one new axis belongs to that axis. A label that
    fills a box is refined into one label for each new axis. What is left is tied along the
    largest new axis. A last ``tie`` against the original makes the answer consistent.

    Args:
        labels: the label store, which is changed.
        axis: ``[prod(sizes), k]``.
        sizes: rows of the new axes.
        link: number of the call that asks, for the log of unions.

    Returns:
        The new axes, ``[size, k']`` each; their ``merge`` is tied to ``axis``.
    """
    rows = labels.resolve(axis)
    if rows.shape[1] == 0:
        if axis.shape[1]:  # frozen labels stay attached, for the explanation
            return _attach_frozen(axis, sizes)
        return [unlabelled(size) for size in sizes]
    cells = _Cells(rows, sizes)
    parts = [cells.slices_along(j) for j in range(len(sizes))]
    loose = cells.loose()
    if loose.any():
        new = cells.refine_boxes(labels, loose, link)
        if new is None:
            new = cells.along_largest(labels, loose, link)
        parts = [np.concatenate([p, n], axis=1) for p, n in zip(parts, new, strict=True)]
    labels.freeze(cells.everywhere(), link)
    tie(labels, merge(parts), axis, link)
    return parts


def _attach_frozen(axis: Axis, sizes: Sequence[int]) -> list[Axis]:
    grid = axis.reshape(*sizes, axis.shape[1])
    firsts = [np.moveaxis(grid, j, 0).reshape(sizes[j], -1)[:, :1] for j in range(len(sizes))]
    return [first if size > 1 else unlabelled(1) for first, size in zip(firsts, sizes, strict=True)]


class _Cells:
    """The cells of the grid ``sizes`` in which each label of an axis lies."""

    def __init__(self, rows: Axis, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        position, column = np.nonzero(rows)
        self.rows = rows
        self.position = position
        self.names, self.index = np.unique(rows[position, column], return_inverse=True)
        self.count = np.bincount(self.index)
        self.coordinates = np.unravel_index(position, self.sizes)
        # extent[j, l]: how many different coordinates label l takes along axis j
        self.extent = np.stack([self._distinct(j) for j in range(len(sizes))])
        self.full = self.extent == np.asarray(sizes)[:, None]
        self.is_box = self.extent.prod(axis=0) == self.count
        self.partial = (~self.full).sum(axis=0)

    def _distinct(self, j: int) -> NDArray[np.int64]:
        cells = np.unique(self.index * self.sizes[j] + self.coordinates[j])
        return np.bincount(cells // self.sizes[j], minlength=len(self.names))

    def slices_along(self, j: int) -> Axis:
        """Find the labels that fill whole slices across new axis ``j``, and their rows along it."""
        mine = self.is_box & (self.partial == 1) & ~self.full[j]
        entries = mine[self.index]
        keys = np.unique(
            np.stack([self.coordinates[j][entries], self.names[self.index[entries]]]), axis=1
        )
        depth = np.bincount(keys[0], minlength=self.sizes[j]) if keys.size else np.zeros(1, int)
        out = np.zeros((self.sizes[j], int(depth.max())), dtype=np.int64)
        if keys.size:
            starts = np.concatenate([[0], np.cumsum(depth)[:-1]])
            out[keys[0], np.arange(keys.shape[1]) - starts[keys[0]]] = keys[1]
        return out

    def loose(self) -> NDArray[np.bool_]:
        """Tell for each label whether it belongs to no single new axis."""
        return (self.partial > 0) & (~self.is_box | (self.partial > 1))

    def everywhere(self) -> Axis:
        """Find labels that reach every row of every new axis, so that removing one removes everything."""
        return self.names[self.partial == 0][:, None]

    def refine_boxes(
        self, labels: Labels, loose: NDArray[np.bool_], link: int
    ) -> list[Axis] | None:
        """Refine labels that fill boxes into one label for each new axis that they don't fill.

        ``None`` if some label fills no box, or shares a cell with another.
        """
        axes = np.flatnonzero((~self.full & loose).any(axis=1))
        boxes = self.is_box[loose].all() and (~self.full[axes][:, loose]).all()
        alone = np.bincount(self.position, minlength=len(self.rows)).max() == 1
        if not (boxes and alone):
            return None
        new = [unlabelled(size) for size in self.sizes]
        parts: list[NDArray[np.int64]] = []
        for j in axes:
            new[j] = labels.fresh(self.sizes[j])
            parts.append(self._one_per_label(labels, new[j], int(j), loose, link))
        labels.refine(self.names[loose], np.stack(parts, axis=1), link)
        return new

    def _one_per_label(
        self, labels: Labels, axis: Axis, j: int, loose: NDArray[np.bool_], link: int
    ) -> NDArray[np.int64]:
        """Unite the rows of axis ``j`` that one loose label covers, and return that label for each."""
        entries = loose[self.index]
        index, coordinate = self.index[entries], self.coordinates[j][entries]
        _, first = np.unique(index, return_index=True)
        number = np.cumsum(loose) - 1
        lead = axis[coordinate[first], 0]
        labels.unite(axis[coordinate, 0], lead[number[index]], link)
        if len(np.unique(labels.find(axis[:, 0]))) == 1:  # one label for the whole axis
            labels.freeze(axis, link)
        return labels.find(lead)

    def along_largest(self, labels: Labels, loose: NDArray[np.bool_], link: int) -> list[Axis]:
        """Give each row of the largest new axis that is not filled one label, tied to the loose ones.

        Of several loose labels in one cell only the smallest survive: the wider ones would
        couple everything they touch, so they are frozen.
        """
        entries = np.flatnonzero(loose[self.index])
        smallest = np.full(len(self.rows), np.iinfo(np.int64).max)
        np.minimum.at(smallest, self.position[entries], self.count[self.index[entries]])
        wide = self.count[self.index[entries]] > smallest[self.position[entries]]
        labels.freeze(np.unique(self.names[self.index[entries[wide]]])[:, None], link)
        axes = np.flatnonzero((~self.full & loose).any(axis=1))
        largest = max(axes, key=lambda j: (self.sizes[j], j))
        new = [unlabelled(size) for size in self.sizes]
        new[largest] = labels.fresh(self.sizes[largest])
        return new
