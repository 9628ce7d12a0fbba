"""List the layers that cost something with the groups they join, and the curves of groups.

Plain data for the report. Its size is bounded, whatever the network's: ``report.LAYERS`` and the
constants here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graphprune.analysis.frozen import operator_of
from graphprune.ir.module_paths import owner_of
from graphprune.ir.nodes import bind, source_line

from .report import LAYERS, DistortionCurve, LayerCost

if TYPE_CHECKING:
    from torch import fx

    from graphprune.analysis.analyse import Analysis
    from graphprune.analysis.frozen import Frozen
    from graphprune.plan.plan import GroupPlan

__all__ = ["CURVE", "POINTS", "curves", "layers"]

POINTS = 8192
"""Most points of all curves of a report together; each group has at least three."""

CURVE = 33
"""Most points of one curve, but for the one that was chosen."""


def layers(
    analysis: Analysis, after: Sequence[int], frozen: Sequence[Frozen]
) -> tuple[LayerCost, ...]:
    """List every call that multiplies, in program order.

    Args:
        analysis: of the dense program.
        after: the width that each group keeps.
        frozen: channels that can't be cut, as the report lists them.
    """
    numbers: dict[str, list[int]] = {}
    for number, entry in enumerate(frozen):
        for axis in entry.axes:
            numbers.setdefault(axis, []).append(number)
    found = [
        _layer(analysis, node, after, numbers)
        for node, facts in analysis.facts.items()
        if facts.macs
    ]
    if len(found) <= LAYERS:
        return tuple(found)
    order = sorted(range(len(found)), key=lambda i: -found[i].before)
    listed, others = order[: LAYERS - 1], [found[i] for i in order[LAYERS - 1 :]]
    rest = LayerCost(
        f"{len(others)} more", "", "", sum(o.before for o in others), sum(o.after for o in others)
    )
    return (*(found[i] for i in sorted(listed)), rest)


def _layer(
    analysis: Analysis, node: fx.Node, after: Sequence[int], numbers: Mapping[str, Sequence[int]]
) -> LayerCost:
    macs, facts = analysis.macs_of(node), analysis.facts[node]
    weight = _weight(node)
    contracted = {f"{weight}:{c.dim}" for c in facts.contractions}
    result = facts.result if isinstance(facts.result, tuple) else ()
    mine = {axis: entries for axis, entries in numbers.items() if axis.rpartition(":")[0] == weight}
    return LayerCost(
        name=weight.rpartition(".")[0] or weight or _place(node),
        operator=operator_of(node),
        where=source_line(node),
        before=macs.at(analysis.widths),
        after=macs.at(after),
        reads=analysis.groups_on(c.axis for c in facts.contractions),
        makes=analysis.groups_on(result),
        reads_frozen=_distinct(i for axis, e in mine.items() if axis in contracted for i in e),
        makes_frozen=_distinct(i for axis, e in mine.items() if axis not in contracted for i in e),
    )


def _weight(node: fx.Node) -> str:
    """Find the name of the first stored tensor that a call reads, its weight by convention; or ``""``."""
    arguments = bind(node)
    weight = arguments.get("weight")
    others = (a for a in arguments.values() if getattr(a, "op", "") == "get_attr")
    found = weight if getattr(weight, "op", "") == "get_attr" else next(others, None)
    return "" if found is None else str(found.target)


def _place(node: fx.Node) -> str:
    """Name a call without a weight after the module that makes it, if that is known."""
    path = owner_of(node)
    return f"{path}.{node.name}" if path else node.name


def _distinct(numbers: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(numbers)))


def curves(
    chosen: Mapping[str, NDArray[np.float64]], groups: Sequence[GroupPlan]
) -> tuple[DistortionCurve, ...]:
    """Sample the curves that widths were chosen by; the ends and the choice stay.

    Args:
        chosen: group id -> ``[width + 1]``, the distortion by the number of channels kept.
        groups: of the plan.
    """
    most = max(3, min(CURVE, POINTS // max(len(groups), 1)))
    found = []
    for group in groups:
        if group.id not in chosen:
            continue
        curve = chosen[group.id]
        spread = np.linspace(0, group.width, min(most, group.width + 1)).round().astype(int)
        widths = sorted({*spread.tolist(), len(group.keep)})
        found.append(
            DistortionCurve(group.id, tuple(widths), tuple(_short(curve[w]) for w in widths))
        )
    return tuple(found)


def _short(value: float) -> float:
    """Round to six digits: the rest is noise in a picture."""
    return float(f"{value:.6g}")
