"""Tie two axes that hold the same channels (unification), and merge axes into their product.

Moving rows about (concatenation, slicing, permutation) is plain numpy indexing on an axis; what
needs *solving* is when two axes must hold the same channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .labels import FROZEN, Axis, Labels, unlabelled

__all__ = ["merge", "pad_columns", "tie"]


def tie(labels: Labels, left: Axis, right: Axis, link: int) -> None:
    """Tie two axes: row ``i`` of ``left`` is removed exactly when row ``i`` of ``right`` is.

    Where the two rows hold one label each, these are united. A single label against a set is
    refined into that set. A row that can't be removed freezes its partner. Two different sets
    are matched by the rows they cover; what can't be matched is frozen: never guessed.

    Args:
        labels: the label store, which is changed.
        left: ``[rows, k]``.
        right: ``[rows, l]``, with as many rows.
        link: number of the call that asks, for the log of unions.
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
    """Reduce an axis to one label a row; where that is 0, a stale label that tells how it froze."""
    column = resolved[:, 0] if resolved.shape[1] else np.zeros(len(raw), dtype=np.int64)
    if raw.shape[1] == 0:
        return column
    return np.where((column == FROZEN) & (labels.find(raw[:, 0]) == FROZEN), raw[:, 0], column)


def _pad(a: Axis, b: Axis) -> tuple[Axis, Axis]:
    width = max(a.shape[1], b.shape[1])
    return pad_columns(a, width), pad_columns(b, width)


def pad_columns(axis: Axis, width: int) -> Axis:
    """Pad an axis with frozen entries to ``width`` columns."""
    missing = width - axis.shape[1]
    if missing == 0:
        return axis
    return np.concatenate([axis, np.zeros((len(axis), missing), dtype=np.int64)], axis=1)


def _difference(a: Axis, b: Axis) -> Axis:
    """Subtract sets row by row: labels of ``a`` not in ``b``; the others become 0, sorted last."""
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
    """Map each set of rows to the label that occurs in just these (the smallest, if several do)."""
    position, _ = np.nonzero(rows)
    occurring = rows[rows != FROZEN]
    order = np.lexsort((position, occurring))
    names, starts = np.unique(occurring[order], return_index=True)
    runs = np.split(position[order], starts[1:])
    return {run.tobytes(): int(name) for name, run in zip(names[::-1], runs[::-1], strict=True)}


def _settle(labels: Labels, a: Axis, b: Axis, link: int) -> None:
    """Solve rows that still differ: all simple refinements at once, else one pair of sets at a time."""
    if _refine_all(labels, a, b, link) or _refine_all(labels, b, a, link):
        return
    pairs = np.unique(np.concatenate([a, b], axis=1), axis=0)
    width = a.shape[1]
    for pair in pairs:
        left, right = labels.resolve(pair[None, :width]), labels.resolve(pair[None, width:])
        left, right = _pad(left, right)
        x, y = _difference(left, right)[0], _difference(right, left)[0]
        x, y = x[x != FROZEN], y[y != FROZEN]
        if len(x) == 1 and len(y) == 1:
            labels.unite(x, y, link)
        elif len(x) == 1 and len(y) > 1:
            labels.refine(x, y[None], link)
        elif len(y) == 1 and len(x) > 1:
            labels.refine(y, x[None], link)
        else:
            labels.freeze(np.concatenate([x, y])[:, None], link)


def _refine_all(labels: Labels, single: Axis, several: Axis, link: int) -> bool:
    """Refine labels that stand alone against a set, where none is also in such a set."""
    alone = (single != FROZEN).sum(axis=1) == 1
    rows = np.flatnonzero(alone & ((several != FROZEN).sum(axis=1) > 1))
    names, first = np.unique(single[rows, 0], return_index=True)
    free = ~np.isin(names, several[rows])
    names, rows = names[free], rows[first[free]]
    if len(names):
        labels.refine(names, several[rows], link)
    return len(names) > 0


def merge(axes: Sequence[Axis]) -> Axis:
    """Merge axes into their row-major product, as ``flatten`` does.

    Args:
        axes: ``[n, k]`` each.

    Returns:
        ``[prod(n), sum(k)]``: row ``(i, j, ...)`` has the labels of row ``i`` of the first axis, of row
        ``j`` of the second, and so on.
    """
    total = math.prod(len(axis) for axis in axes)
    columns, inner = [], total
    for axis in axes:
        inner //= max(len(axis), 1)
        if axis.shape[1]:
            outer = total // (inner * len(axis))
            columns.append(np.tile(np.repeat(axis, inner, axis=0), (outer, 1)))
    return np.concatenate(columns, axis=1) if columns else unlabelled(total)
