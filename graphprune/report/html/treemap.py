"""Draw where the multiply-accumulates are, as nested boxes by module path."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphprune.report.report import LayerCost, Report
from graphprune.report.text import amount, share

from .figure import CUT, Figure, layout, plain, short

__all__ = ["figures"]

DEEPEST = 32
"""Most parts of a module path that are boxes of their own; what follows is one name."""


_LOOK: Mapping[str, Any] = {
    "type": "treemap",
    "branchvalues": "remainder",
    "textinfo": "label+text",
    "hovertemplate": "%{hovertext}<extra></extra>",
    "tiling": {"packing": "squarify"},
    "pathbar": {"visible": True},
    "maxdepth": 4,
}
_TILES: Mapping[str, Any] = {
    "colorscale": CUT,
    "cmin": 0,
    "cmax": 1,
    "line": {"width": 1, "color": "var(--paper)"},
    "pad": {"t": 18, "l": 2, "r": 2, "b": 2},
}


@dataclass
class _Box:
    """A module or, at the leaves, a layer."""

    name: str
    before: float = 0.0
    after: float = 0.0
    where: str = ""
    parts: dict[str, _Box] = field(default_factory=dict)


def figures(report: Report) -> tuple[Figure, Figure]:
    """Draw the MACs before and after; tiles are coloured by the share that is gone."""
    tree = _tree(report.model, report.layers)
    return (
        _figure("macs-before", "MACs of each layer of the dense model", tree, lambda b: b.before),
        _figure("macs-after", "MACs of each layer of the smaller model", tree, lambda b: b.after),
    )


def _tree(model: str, layers: Sequence[LayerCost]) -> _Box:
    root = _Box(model)
    for number, layer in enumerate(layers):
        box = root
        _count(box, layer)
        for part in layer.name.split(".", DEEPEST):
            box = box.parts.setdefault(part, _Box(part))
            _count(box, layer)
        # The same weight may be used by several calls, and a module may be a layer itself.
        box.parts[f"#{number}"] = _Box(layer.operator, layer.before, layer.after, layer.where)
    return _joined(root)


def _count(box: _Box, layer: LayerCost) -> None:
    box.before += layer.before
    box.after += layer.after


def _joined(box: _Box) -> _Box:
    """Leave out boxes that hold nothing but one other."""
    parts = [_joined(part) for part in box.parts.values()]
    if len(parts) == 1:
        (only,) = parts
        name = f"{box.name}.{only.name}" if only.parts else box.name
        return _Box(name, only.before, only.after, only.where, only.parts)
    return _Box(
        box.name, box.before, box.after, box.where, {str(i): part for i, part in enumerate(parts)}
    )


def _listed(tree: _Box) -> list[tuple[str, str, _Box]]:
    """List a box and all within it, each with its number and that of the box around it."""
    found: list[tuple[str, str, _Box]] = []

    def add(box: _Box, around: str) -> None:
        number = str(len(found))
        found.append((number, around, box))
        for part in box.parts.values():
            add(part, number)

    add(tree, "")
    return found


def _figure(name: str, label: str, tree: _Box, cost: Callable[[_Box], float]) -> Figure:
    ids, parents, boxes = zip(*_listed(tree), strict=True)
    gone = [share(box.before, box.after) for box in boxes]
    trace: dict[str, Any] = {
        **_LOOK,
        "ids": ids,
        "parents": parents,
        "labels": [short(box.name) for box in boxes],
        # A box is as large as its parts together: plotly adds them up itself.
        "values": [0 if box.parts else cost(box) for box in boxes],
        "text": [amount(cost(box)).strip() for box in boxes],
        "hovertext": [
            f"<b>{plain(box.name)}</b> {plain(box.where)}<br>{amount(box.before)}&#8594; "
            f"{amount(box.after)}MACs<br>{cut:.1%} cut"
            for box, cut in zip(boxes, gone, strict=True)
        ],
        "textfont": {"color": [f"var(--on-cut-{round(4 * cut)})" for cut in gone]},
        "marker": {**_TILES, "colors": gone},
    }
    return Figure(
        name,
        f"{label}, as nested boxes by module path.",
        [trace],
        layout(440, uniformtext={"minsize": 9, "mode": "hide"}),
    )
