"""Draw charts of widths, curves, refitted layers, and of what a search found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphprune.report.report import Report

from .accuracies import Accuracies
from .figure import RUNS, Figure, layout, plain, short

__all__ = ["MOST", "accuracies", "costs", "curves", "fits", "pareto_front", "widths"]

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
        _plane(
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


def pareto_front(points: Sequence[Mapping[str, Any]], *, least: float | None = None) -> Figure:
    """Draw accuracy by cost of all that was tried, and the Pareto front.

    Args:
        points: each with ``cost``, a share of the dense MACs, and ``accuracy``, 0 to 1, or
            ``None`` where there was no plan; ``holds`` says whether it is good enough,
            ``name`` what it is, and ``colour`` how that is drawn, where that is known.
        least: the accuracy that is asked for.
    """
    known = [p for p in points if p["cost"] is not None and p["accuracy"] is not None]
    best = [
        p
        for p in known
        if not any(
            o["cost"] <= p["cost"]
            and o["accuracy"] >= p["accuracy"]
            and (o["cost"], o["accuracy"]) != (p["cost"], p["accuracy"])
            for o in known
        )
    ]
    best.sort(key=lambda p: p["cost"])
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [p["cost"] for p in best],
            "y": [p["accuracy"] for p in best],
            "hoverinfo": "skip",
            "name": "front",
            "line": {"width": 1.5, "color": "var(--edge)", "shape": "hv"},
        },
        {
            "type": "scatter",
            "mode": "markers",
            "x": [p["cost"] for p in known],
            "y": [p["accuracy"] for p in known],
            "text": [plain(p.get("name", "")) for p in known],
            "hovertemplate": "%{text}<br>%{x:.1%} of the MACs: %{y:.2%}<extra></extra>",
            "marker": {
                "size": 10,
                "line": {"width": 1, "color": "var(--ink)"},
                "color": [
                    p.get("colour", "var(--after)") if p.get("holds", True) else "var(--bad)"
                    for p in known
                ],
                "symbol": ["circle" if p.get("holds", True) else "x" for p in known],
            },
        },
    ]
    shapes = (
        []
        if least is None
        else [
            {
                "type": "line",
                "xref": "paper",
                "x0": 0,
                "x1": 1,
                "y0": least,
                "y1": least,
                "line": {"dash": "dot", "width": 1.5, "color": "var(--ink)"},
            }
        ]
    )
    return Figure(
        "front",
        "Accuracy by the share of the dense MACs, for all that was tried.",
        data,
        _plane("of the dense MACs", "accuracy", {"tickformat": ".0%"}, {"tickformat": ".1%"})
        | {"shapes": shapes},
    )


def accuracies(measured: Mapping[str, Accuracies]) -> Figure:
    """Draw the accuracy of each run, clean and under each corruption."""
    names = ["clean", *dict.fromkeys(n for m in measured.values() for n in m.corrupted)]
    data = [
        {
            "type": "bar",
            "name": short(name),
            "x": names,
            "marker": {"color": RUNS[i % len(RUNS)]},
            "y": [found.clean if n == "clean" else found.corrupted.get(n) for n in names],
            "hovertemplate": "%{fullData.name}<br>%{x}: %{y:.2%}<extra></extra>",
        }
        for i, (name, found) in enumerate(measured.items())
    ]
    return Figure(
        "accuracies",
        "Accuracy on clean and on corrupted inputs.",
        data,
        layout(
            340,
            barmode="group",
            showlegend=len(data) > 1,
            xaxis=_axis(""),
            yaxis=_axis("accuracy", tickformat=".0%", range=[0, 1]),
            legend=_LEGEND,
        ),
    )


def costs(reports: Mapping[str, Report]) -> Figure:
    """Draw each run's costs as shares of its dense model's."""
    data = [
        {
            "type": "bar",
            "name": short(name),
            "x": ["MACs", "parameters", "weight bytes"],
            "y": [
                r.after.macs / max(r.before.macs, 1),
                r.after.params / max(r.before.params, 1),
                r.after.weight_bytes / max(r.before.weight_bytes, 1),
            ],
            "marker": {"color": RUNS[i % len(RUNS)]},
            "hovertemplate": "%{fullData.name}<br>%{x}: %{y:.1%} of dense<extra></extra>",
        }
        for i, (name, r) in enumerate(reports.items())
    ]
    return Figure(
        "costs",
        "What is left of the dense model's costs in each run.",
        data,
        layout(
            320,
            barmode="group",
            showlegend=len(data) > 1,
            xaxis=_axis(""),
            legend=_LEGEND,
            yaxis=_axis("of dense", tickformat=".0%", range=[0, 1]),
        ),
    )


_LEGEND = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}


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
        xaxis=_axis(title, side="top", tickformat=tickformat, range=[0, most]),
        yaxis=_axis(
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


def _plane(x: str, y: str, of_x: Mapping[str, Any], of_y: Mapping[str, Any]) -> dict[str, Any]:
    return layout(380, hovermode="closest", xaxis=_axis(x, **of_x), yaxis=_axis(y, **of_y))


def _axis(title: str, **more: Any) -> dict[str, Any]:
    return {
        "title": {"text": title},
        "automargin": True,
        "fixedrange": True,
        "zeroline": False,
    } | more
