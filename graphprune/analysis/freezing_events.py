"""Find what froze each label: the entry of the log after which nothing can remove it any more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from graphprune.axes.labels import FROZEN, Labels

__all__ = ["coupling_classes", "freezing_events"]

_NEVER = np.iinfo(np.int64).max


def coupling_classes(labels: Labels, *, refined: bool = True) -> NDArray[np.int64]:
    """Number the classes of coupled labels, whether or not they are frozen.

    Args:
        labels: the label store.
        refined: a label belongs to the class of the labels that it was refined into.

    Returns:
        ``[labels]``: equal numbers for labels that the log connects, those with the frozen label left out.
    """
    classes = Labels()
    classes.fresh(len(labels) - 1)
    for event in labels.log:
        if refined or not event.refines:
            between = (event.left != FROZEN) & (event.right != FROZEN)
            classes.unite(event.left[between], event.right[between], 0)
    return classes.find(np.arange(len(labels)))


def freezing_events(labels: Labels) -> NDArray[np.int64]:
    """Find the entry of the log that froze each label.

    A class of united labels is frozen by its first union with the frozen label. A label that was refined
    can be removed as long as any of its parts can, so what froze the last of them froze it: of the rows of a
    recurrent layer's weights, which have a gate and a unit each, what froze the units.

    Returns:
        ``[labels]``: numbers of entries; -1: not frozen, and for the frozen label itself.
    """
    roots = coupling_classes(labels, refined=False)
    events = np.full(len(labels), _NEVER)
    for number, event in enumerate(labels.log):
        if not event.refines:
            united = np.where(event.left == FROZEN, event.right, event.left)
            frozen = (event.left == FROZEN) | (event.right == FROZEN)
            np.minimum.at(events, roots[united[frozen]], number)
    for event in reversed(labels.log):  # parts may be refined themselves, later
        if event.refines:
            wholes, index = np.unique(roots[event.left], return_inverse=True)
            last = np.full(len(wholes), -1)
            np.maximum.at(last, index, events[roots[event.right]])
            events[wholes] = last
    events[FROZEN] = _NEVER
    events = events[roots]
    return np.where(events == _NEVER, -1, events)
