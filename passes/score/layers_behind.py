"""What the layers behind a group make up for: by what factor does the error of its cut fall when they are refitted?

A measured curve is the error with the layers that read a group refitted. After a cut all layers are, and those behind
make up for more the more of them there are: a plan by the measured curves cuts too little near the input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from graphprune.analysis.groups import Group
from graphprune.cut.cut import Cut
from graphprune.passes.observe import Observations
from graphprune.passes.recover import QUICK, repair

from .measured_curves import FLOOR, MeasuredCurve
from .obs import find_readers

__all__ = ["with_layers_behind"]

SAMPLES = 48
"""Samples on which the layers are refitted and the error is measured."""

LEVEL = 0.03
"""Error of the cuts that it is measured for, which is about what a group's cut costs in a plan."""

LEAST = 0.25
"""Least share of its channels that a group keeps there."""

PATIENCE = 8
"""Layers in a row that a refit hardly helps, behind which nothing is left to make up for."""

PLACES = 16
"""Most groups that it is measured for, evenly spaced; between them it is interpolated."""

NOTHING = 0.95
"""A factor above this counts as none; after two groups in a row with none it isn't measured for those behind."""


def with_layers_behind(
    observations: Observations, curves: Mapping[str, MeasuredCurve]
) -> dict[str, MeasuredCurve]:
    """Measure ``mended`` of curves: the factor by which their error falls if the layers behind are refitted as well.

    Args:
        observations: measurements of the dense network, from which a few samples are taken.
        curves: group id -> curve, with the errors after a refit of the group's readers.
    """
    data = observations.data.few(SAMPLES)
    few = Observations(observations.analysis, data, observations.seed, scoring=False)
    readers = find_readers(observations)
    since = sorted(
        (
            (min(each.layer.number for each in readers[group.id]), group)
            for group in observations.analysis.groups
            if readers[group.id]
        ),
        key=lambda each: each[0],
    )
    count = min(PLACES, len(since))
    logs = dict[int, float]()
    for number in range(count):
        place = round(number * (len(since) - 1) / max(count - 1, 1))
        first, group = since[place]
        observations.tell("refit", number, count)
        factor = _factor(few, curves[group.id], group, first)
        if factor is not None:
            logs[place] = float(np.log(factor))
        if len(logs) > 1 and min([*logs.values()][-2:]) > np.log(NOTHING):
            break
    if not logs:
        return dict(curves)
    factors = np.exp(np.interp(range(len(since)), [*logs], [*logs.values()]))
    found = dict(curves)
    for (_, group), factor in zip(since, factors.tolist(), strict=True):
        found[group.id] = replace(curves[group.id], mended=factor)
    return found


def _factor(few: Observations, curve: MeasuredCurve, group: Group, first: int) -> float | None:
    """Measure the factor of one group, at most 1, by cutting it alone and refitting from the layer ``first`` on.

    Returns:
        ``None`` if the group loses nothing, or can't be cut.
    """
    expected = curve.interpolated()
    width = int(np.argmax(expected <= LEVEL))
    if expected[width] < LEVEL / 10:  # a step: one channel less costs far more
        width -= 1
    width = max(width, int(np.ceil(LEAST * group.width)))
    if width == group.width or expected[width] <= FLOOR:
        return None
    cut = Cut.keeping(few.analysis, {group.id: sorted(curve.order[group.width - width :])})
    fitted = few.fitted[::2] or few.fitted
    error = repair(few, cut, fitted=fitted, since=first, patience=PATIENCE, search=QUICK).error
    return min(1.0, max(error, FLOOR) / float(expected[width]))
