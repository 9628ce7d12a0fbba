"""Axis algebra: what operators do to labelled axes.

All functions work on rows (see ``labels``). Moving rows about (concatenation, slicing,
permutation) is plain numpy indexing on an axis; the functions here are the ones that need to
*solve* something: ``tie`` two axes, ``merge`` axes into one, ``split`` one into several.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graphprune.labels import FROZEN, Axis, Labels, plain

__all__ = ["Layout", "merge", "reshape", "split", "tie", "widened"]

Layout = tuple[Axis, ...]
"""One axis per dimension of a tensor."""

MAX_ROWS = 1 << 22
"""Longest axis that is spelled out row by row; what would be longer is frozen."""


def tie(labels: Labels, left: Axis, right: Axis, link: int) -> None:
    """Row ``i`` of ``left`` may be removed exactly when row ``i`` of ``right`` is.

    Where the two rows hold one label each, these are united. A single label against a set is
    refined into that set. A row that can't be removed freezes its partner. Two different sets
    are matched by the rows they cover; what can't be matched is frozen: never guessed.
    """
    if len(left) != len(right):
        raise ValueError(f"can't tie {len(left)} rows to {len(right)}")
    while True:
        a, b = labels.resolve(left), labels.resolve(right)
        if a.shape[1] <= 1 and b.shape[1] <= 1:
            labels.unite(_column(labels, left, a), _column(labels, right, b), link)
            return
        a, b = _pad(a, b)
        differ = (a != b).any(axis=1)
        if not differ.any():
            return
        only_a, only_b = _difference(a[differ], b[differ]), _difference(b[differ], a[differ])
        if not _match_by_rows(labels, only_a, only_b, link):
            _settle(labels, only_a, only_b, link)


def _column(labels: Labels, raw: Axis, resolved: Axis) -> NDArray[np.int64]:
    """The axis as one label a row; where that is 0, a stale label that tells how it froze."""
    column = resolved[:, 0] if resolved.shape[1] else np.zeros(len(raw), dtype=np.int64)
    if raw.shape[1] == 0:
        return column
    return np.where((column == FROZEN) & (labels.find(raw[:, 0]) == FROZEN), raw[:, 0], column)


def _pad(a: Axis, b: Axis) -> tuple[Axis, Axis]:
    width = max(a.shape[1], b.shape[1])
    return widened(a, width), widened(b, width)


def widened(axis: Axis, width: int) -> Axis:
    """The axis with frozen entries added up to ``width`` columns."""
    missing = width - axis.shape[1]
    if missing == 0:
        return axis
    return np.concatenate([axis, np.zeros((len(axis), missing), dtype=np.int64)], axis=1)


def _difference(a: Axis, b: Axis) -> Axis:
    """Per row, the labels of ``a`` that are not in ``b``; the others become 0, sorted last."""
    shared = (a[:, :, None] == b[:, None, :]).any(axis=2)
    return -np.sort(-np.where(shared, FROZEN, a), axis=1)


def _match_by_rows(labels: Labels, a: Axis, b: Axis, link: int) -> bool:
    """Unite labels of ``a`` and ``b`` that cover the same rows.

    Rows with one label against several are left alone: they want refinement.
    """
    many_a, many_b = (a != FROZEN).sum(axis=1), (b != FROZEN).sum(axis=1)
    several = (many_a == many_b) | ((many_a > 1) & (many_b > 1))
    if not several.any():
        return False
    left, right = _rows_covered(a[several]), _rows_covered(b[several])
    pairs = [(left[key], right[key]) for key in left if key in right]
    before = labels.version
    if pairs:
        x, y = np.asarray(pairs, dtype=np.int64).T
        labels.unite(x, y, link)
    return labels.version != before


def _rows_covered(rows: Axis) -> dict[bytes, int]:
    """The set of rows a label occurs in -> that label (the smallest, if several share it)."""
    position, _ = np.nonzero(rows)
    found = rows[rows != FROZEN]
    order = np.lexsort((position, found))
    names, starts = np.unique(found[order], return_index=True)
    runs = np.split(position[order], starts[1:])
    return {run.tobytes(): int(name) for name, run in zip(names[::-1], runs[::-1], strict=True)}


def _settle(labels: Labels, a: Axis, b: Axis, link: int) -> None:
    """Solve rows that differ: all plain refinements at once, else one pair of sets at a time."""
    if _refine_all(labels, a, b, link) or _refine_all(labels, b, a, link):
        return
    pairs = np.unique(np.concatenate([a, b], axis=1), axis=0)
    width = a.shape[1]
    for pair in pairs:
        left, right = labels.resolve(pair[None, :width]), labels.resolve(pair[None, width:])
        left, right = _pad(left, right)
        x, y = _difference(left, right)[0], _difference(right, left)[0]
        x, y = x[x != FROZEN], y[y != FROZEN]
        if len(x) == 1 and len(y) >= 1:
            labels.refine(int(x[0]), y, link)
        elif len(y) == 1 and len(x) >= 1:
            labels.refine(int(y[0]), x, link)
        else:
            labels.freeze(np.concatenate([x, y])[:, None], link)


def _refine_all(labels: Labels, single: Axis, several: Axis, link: int) -> bool:
    """Refine labels that stand alone against a set of two, where none is also in such a set."""
    alone = (single != FROZEN).sum(axis=1) == 1
    rows = np.flatnonzero(alone & ((several != FROZEN).sum(axis=1) == 2))
    names, first = np.unique(single[rows, 0], return_index=True)
    free = ~np.isin(names, several[rows])
    names, rows = names[free], rows[first[free]]
    if len(names):
        labels.refine_pairs(names, several[rows, 0], several[rows, 1], link)
    return len(names) > 0


def merge(axes: Sequence[Axis]) -> Axis:
    """Row-major product of axes, as ``flatten`` makes it: ``[prod(n), sum(k)]``."""
    total = math.prod(len(axis) for axis in axes)
    columns, inner = [], total
    for axis in axes:
        inner //= max(len(axis), 1)
        if axis.shape[1]:
            outer = total // (inner * len(axis))
            columns.append(np.tile(np.repeat(axis, inner, axis=0), (outer, 1)))
    return np.concatenate(columns, axis=1) if columns else plain(total)


def reshape(labels: Labels, layout: Layout, sizes: Sequence[int], link: int) -> Layout:
    """The layout after a row-major reshape to ``sizes``.

    Dimensions are taken together only as far as their products force it.
    """
    out: list[Axis] = []
    i, old = 0, [len(axis) for axis in layout]
    for start, stop in _segments(old, sizes):
        taken, product = [], math.prod(sizes[start:stop])
        while i < len(old) and (math.prod(map(len, taken)) != product or old[i] == 1):
            taken.append(layout[i])
            i += 1
        out.extend(_regroup(labels, taken, list(sizes[start:stop]), link))
    return tuple(out)


def _segments(old: Sequence[int], new: Sequence[int]) -> list[tuple[int, int]]:
    """Ranges of new dimensions, each the smallest that covers whole old dimensions."""
    edges = {math.prod(old[:i]) for i in range(len(old) + 1)}
    found, start = [], 0
    for stop in range(1, len(new) + 1):
        ones_follow = stop < len(new) and new[stop] == 1
        if math.prod(new[:stop]) in edges and not ones_follow:
            found.append((start, stop))
            start = stop
    return found


def _regroup(labels: Labels, axes: list[Axis], sizes: list[int], link: int) -> list[Axis]:
    big = [axis for axis in axes if len(axis) != 1]
    if [len(axis) for axis in big] == [size for size in sizes if size != 1]:
        left = iter(big)
        return [plain(1) if size == 1 else next(left) for size in sizes]
    if not any(axis.shape[1] for axis in big):
        return [plain(size) for size in sizes]
    if math.prod(sizes) > MAX_ROWS:
        for axis in big:
            labels.freeze(axis, link)
        return [plain(size) for size in sizes]
    return split(labels, merge(big), sizes, link)


def split(labels: Labels, axis: Axis, sizes: Sequence[int], link: int) -> list[Axis]:
    """Take one axis apart into a row-major product of axes of the given sizes.

    A label that fills whole slices across one new axis belongs to that axis. A label that
    fills a box is refined into one label for each new axis. What is left is tied along the
    largest new axis. A last ``tie`` against the original makes the answer consistent.
    """
    rows = labels.resolve(axis)
    if rows.shape[1] == 0:
        if axis.shape[1]:  # frozen labels stay attached, for the explanation
            return _attach_frozen(axis, sizes)
        return [plain(size) for size in sizes]
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
    return [first if size > 1 else plain(1) for first, size in zip(firsts, sizes, strict=True)]


class _Cells:
    """Where each label of an axis falls in the grid ``sizes``."""

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
        seen = np.unique(self.index * self.sizes[j] + self.coordinates[j])
        return np.bincount(seen // self.sizes[j], minlength=len(self.names))

    def slices_along(self, j: int) -> Axis:
        """Rows along axis ``j`` of the labels that fill whole slices across it."""
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
        """Per label: it belongs to no single new axis."""
        return ~self.is_box | (self.partial > 1)

    def everywhere(self) -> Axis:
        """Labels that fill the whole grid: removing one would remove everything."""
        return self.names[self.is_box & (self.partial == 0)][:, None]

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
        new = [plain(size) for size in self.sizes]
        parts: list[NDArray[np.int64]] = []
        for j in axes:
            new[j] = labels.fresh(self.sizes[j])
            parts.append(self._one_per_label(labels, new[j], int(j), loose, link))
        names = self.names[loose]
        if len(axes) == 2:
            labels.refine_pairs(names, parts[0], parts[1], link)
        else:
            for name, sets in zip(names, np.stack(parts, axis=1), strict=True):
                labels.refine(int(name), sets, link)
        return new

    def _one_per_label(self, labels: Labels, axis: Axis, j: int, loose: NDArray[np.bool_],
                       link: int) -> NDArray[np.int64]:
        """Unite the rows of axis ``j`` that one loose label covers; their label, per label."""
        entries = loose[self.index]
        index, coordinate = self.index[entries], self.coordinates[j][entries]
        _, first = np.unique(index, return_index=True)
        number = np.cumsum(loose) - 1
        lead = axis[coordinate[first], 0]
        labels.unite(axis[coordinate, 0], lead[number[index]], link)
        if len(np.unique(labels.find(axis[:, 0]))) == 1:  # one label for the whole axis
            labels.freeze(axis, link)
        return labels.find(lead)

    def along_largest(
        self, labels: Labels, loose: NDArray[np.bool_], link: int
    ) -> list[Axis]:
        """One label per row of the largest new axis that is not filled.

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
        new = [plain(size) for size in self.sizes]
        new[largest] = labels.fresh(self.sizes[largest])
        return new
