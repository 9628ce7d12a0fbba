"""Describe charts as plain data for plotly.js.

Colours are written ``var(--name)``, and the page puts in what its style sheet says: so one figure
serves light and dark. Sizes are in pixels.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphprune.report.text import printable

__all__ = ["CUT", "RUNS", "Figure", "axis", "layout", "plain", "plane", "short"]

CUT = [[i / 4, f"var(--cut-{i})"] for i in range(5)]
"""Colours from nothing cut to everything cut."""

RUNS = tuple(f"var(--run-{i})" for i in range(8))
"""Colours that tell runs apart; from the ninth on they repeat."""

_LABEL = 22


@dataclass(frozen=True)
class Figure:
    """One chart, as plotly draws it.

    Attributes:
        name: of its place in the page.
        label: what it shows, for those who can't see it.
        data: plotly traces.
        layout: plotly layout; ``height`` is among it.
        least: width below which it scrolls instead of shrinking; 0: none.
    """

    name: str
    label: str
    data: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any] = field(default_factory=dict)
    least: int = 0


def layout(height: int, **more: Any) -> dict[str, Any]:
    """Make a plotly layout without distractions; the page adds fonts and colours."""
    return {
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "showlegend": False,
        "dragmode": False,
        "hoverlabel": {"align": "left"},
    } | more


def plane(x: str, y: str, of_x: Mapping[str, Any], of_y: Mapping[str, Any]) -> dict[str, Any]:
    """Make a plotly layout of points by two numbers, each axis with its title and what plotly is told of it."""
    return layout(380, hovermode="closest", xaxis=axis(x, **of_x), yaxis=axis(y, **of_y))


def axis(title: str, **more: Any) -> dict[str, Any]:
    """Describe an axis with a title, which readers can't zoom; ``more`` goes to plotly."""
    return {
        "title": {"text": title},
        "automargin": True,
        "fixedrange": True,
        "zeroline": False,
    } | more


def plain(text: str) -> str:
    """Escape a text for plotly, which reads tags and entities in whatever it draws."""
    return html.escape(printable(text), quote=False)


def short(name: str, most: int = _LABEL) -> str:
    """Shorten a name to its end, where module paths differ, and escape it for plotly."""
    return plain(name if len(name) <= most else f"…{name[1 - most :]}")
