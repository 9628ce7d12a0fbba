"""Draw what one run did to each group and layer: widths, distortion curves, errors left after refits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphprune.report.report import Report

from .figure import Figure, axis, layout, plain, plane, short

__all__ = ["MOST", "curves", "fits", "widths"]

MOST = 400
"""Most groups, or layers, that a chart shows: the first ones."""

_BAR = 20
_ABOVE = 1.6
"""Ratio of the highest point drawn to the largest distortion that was chosen."""


def widths(report: Report) -> Figure:
    """Draw the channels of each group before and after."""
    groups = report.groups[:MOST]
    data = [
        _bars("before", "var(--before)", [group.before for group in groups])
        | {
            "text": [f"{group.after} / {group.before}" for group in groups],
            "textposition": "outside",
            "textangle": 0,
            "cliponaxis": False,
        },
        _bars("after", "var(--after)", [group.after for group in groups]),
    ]
    for bars in data:
        bars |= {
            "customdata": [[plain(g.id), g.before, g.after] for g in groups],
            "width": 0.7,
            "hovertemplate": "<b>%{customdata[0]}</b><br>%{customdata[1]} channels, "
            "%{customdata[2]} kept<extra></extra>",
        }
    return Figure(
        "widths",
        "Channels of each group, before and after.",
        data,
        _rows(
            [group.id for group in groups],
            barmode="overlay",
            showlegend=True,
            most=1.22 * max((group.before for group in groups), default=1),
        ),
    )


def curves(report: Report) -> Figure:
    """Draw each group's distortion by the share of its channels kept, and the choice."""
    known = {group.id: group for group in report.groups}
    shown = [(curve, known[curve.group]) for curve in report.curves[:MOST] if curve.group in known]
    lines = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": plain(group.id),
            "x": [width / group.before for width in curve.widths],
            "y": list(curve.distortion),
            "text": [f"{width} of {group.before}" for width in curve.widths],
            "line": {"width": 1, "color": "var(--edge)"},
            "hovertemplate": "<b>%{fullData.name}</b><br>%{text} kept: %{y:.4g}<extra></extra>",
        }
        for curve, group in shown
    ]
    chosen = [
        (group, dict(zip(curve.widths, curve.distortion, strict=True))[group.after])
        for curve, group in shown
        if group.after in curve.widths
    ]
    # Up to where the choices are: what is far above was never near being chosen.
    top = _ABOVE * max((distortion for _, distortion in chosen), default=0.0) or None
    marks = {
        "type": "scatter",
        "mode": "markers",
        "name": "chosen",
        "x": [group.after / group.before for group, _ in chosen],
        "y": [distortion for _, distortion in chosen],
        "customdata": [[plain(group.id), group.after, group.before] for group, _ in chosen],
        "hovertemplate": "<b>%{customdata[0]}</b><br>chosen: %{customdata[1]} of %{customdata[2]}, "
        "%{y:.4g}<extra></extra>",
        "marker": {"size": 7, "color": "var(--after)"},
    }
    return Figure(
        "curves",
        "What cutting costs by the criterion, for each group; points are the "
        "widths that were chosen.",
        [*lines, marks],
        plane(
            "channels kept",
            "distortion",
            {"tickformat": ".0%", "range": [0, 1.02]},
            {"range": [0, top]},
        ),
    )


def fits(report: Report) -> Figure:
    """Draw the share of each layer's error that is left after the refit."""
    shown = [fit for fit in report.recovery.get("fits", ()) if fit["before"] > 0][:MOST]
    bars = _bars("left", "var(--after)", [fit["after"] / fit["before"] for fit in shown])
    bars |= {
        "customdata": [plain(fit["layer"]) for fit in shown],
        "hovertemplate": "<b>%{customdata}</b><br>%{x:.1%} of its error left<extra></extra>",
    }
    return Figure(
        "fits",
        "Share of each layer's squared error that is left after its refit.",
        [bars],
        _rows([fit["layer"] for fit in shown], tickformat=".0%", title="error left"),
    )


def _bars(name: str, colour: str, values: Sequence[float]) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "y": list(range(len(values))),
        "x": list(values),
        "marker": {"color": colour},
    }


def _rows(
    names: Sequence[str],
    *,
    title: str = "channels",
    tickformat: str = "",
    most: float | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Make a layout with one row for each name, the first at the top."""
    return layout(
        _BAR * len(names) + 80,
        bargap=0.25,
        xaxis=axis(title, side="top", tickformat=tickformat, range=[0, most]),
        yaxis=axis(
            "",
            tickvals=list(range(len(names))),
            ticktext=[short(n) for n in names],
            range=[len(names) - 0.5, -0.5],
            tickfont={"size": 11},
            showgrid=False,
        ),
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 0, "yanchor": "top"},
        **more,
    )
