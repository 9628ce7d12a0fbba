"""How many groups a grouped convolution has, and how many outputs each, as functions of the widths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from graphprune.analysis.analyse import Analysis
from graphprune.axes.labels import FROZEN, Axis
from graphprune.axes.polynomial import Polynomial

__all__ = ["group_sizes"]

Rows = Sequence[frozenset[int]]


def group_sizes(
    analysis: Analysis, outputs: Axis, groups: int
) -> tuple[Polynomial, Polynomial] | None:
    """Divide the outputs of a grouped convolution into its groups.

    Args:
        analysis: the analysis of the program.
        outputs: the axis of all outputs, group by group.
        groups: the number of groups in the dense network, at least 2.

    Returns:
        The number of groups, and that of outputs in each; ``None`` if a cut may leave groups of unlike sizes.
    """
    rows = [
        frozenset(row) - {FROZEN} for row in np.asarray(analysis.labels.resolve(outputs)).tolist()
    ]
    every = len(rows) // groups
    blocks = [rows[start : start + every] for start in range(0, len(rows), every)]
    counts = Counter(label for block in blocks for label in frozenset().union(*block))
    # What goes with a whole group is in all its rows, and in no other's.
    own = [
        frozenset(label for label in frozenset.intersection(*block) if counts[label] == 1)
        for block in blocks
    ]
    inside = {tuple(row - mine for row in block) for block, mine in zip(blocks, own, strict=True)}
    if len(inside) > 1:
        return None
    size = analysis.grouping.size
    number, each = size(_axis(own)), size(_axis(inside.pop()))
    return (
        (number, each)
        if _is_product(size(analysis.labels.resolve(outputs)), number, each)
        else None
    )


def _axis(rows: Rows) -> Axis:
    """Make an axis of rows of labels."""
    wide = max(map(len, rows))
    found = np.zeros((len(rows), wide), dtype=np.int64)
    for row, labels in zip(found, rows, strict=True):
        row[: len(labels)] = sorted(labels)
    return found


def _is_product(size: Polynomial, first: Polynomial, second: Polynomial) -> bool:
    product = (first * second).terms
    return product.keys() == size.terms.keys() and all(
        abs(product[key] - value) < 1e-9 * abs(value) for key, value in size.terms.items()
    )
