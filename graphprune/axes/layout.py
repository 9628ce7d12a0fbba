"""Layouts, which hold one labelled axis for each dimension of a tensor, and their reshapes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .labels import Axis, Labels, unlabelled
from .split import split
from .unify import merge

__all__ = ["Layout", "reshape", "with_axis"]

Layout = tuple[Axis, ...]
"""The axes of a tensor, one for each dimension."""

MAX_ROWS = 1 << 22
"""Most rows of an axis that has labels; a longer axis is frozen."""


def with_axis(layout: Layout, dim: int, axis: Axis) -> Layout:
    """Replace one axis of a layout."""
    return (*layout[:dim], axis, *layout[dim + 1 :])


def reshape(labels: Labels, layout: Layout, sizes: Sequence[int], link: int) -> Layout:
    """Derive the layout after a row-major reshape to ``sizes``.

    Dimensions are merged and split again only as far as their products force it.

    Args:
        labels: the label store, which is changed where an axis is split.
        layout: of the tensor before.
        sizes: of the tensor after, with as many elements.
        link: number of the call that asks, for the log of unions.

    Returns:
        An axis for each of ``sizes``.
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
    """Split the new dimensions into the shortest runs whose products match runs of old dimensions."""
    edges = {math.prod(old[:i]) for i in range(len(old) + 1)}
    segments, start = [], 0
    for stop in range(1, len(new) + 1):
        ones_follow = stop < len(new) and new[stop] == 1
        if math.prod(new[:stop]) in edges and not ones_follow:
            segments.append((start, stop))
            start = stop
    return segments


def _regroup(labels: Labels, axes: list[Axis], sizes: list[int], link: int) -> list[Axis]:
    big = [axis for axis in axes if len(axis) != 1]
    if [len(axis) for axis in big] == [size for size in sizes if size != 1]:
        left = iter(big)
        return [unlabelled(1) if size == 1 else next(left) for size in sizes]
    if not any(axis.shape[1] for axis in big):
        return [unlabelled(size) for size in sizes]
    if math.prod(sizes) > MAX_ROWS:
        for axis in big:
            labels.freeze(axis, link)
        return [unlabelled(size) for size in sizes]
    return split(labels, merge(big), sizes, link)
