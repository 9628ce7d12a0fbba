"""Draw costs and accuracies: of all that a search tried, and of several runs beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphprune.report.report import Report

from .accuracies import Accuracies
from .figure import RUNS, Figure, axis, layout, plain, plane, short

__all__ = ["accuracies", "costs", "pareto_front"]

LEGEND = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
"""Where the names of several runs stand: in a line above the chart."""


def pareto_front(points: Sequence[Mapping[str, Any]], *, least: float | None = None) -> Figure:
    """Draw accuracy by cost of all that was tried, and the Pareto front.

    Args:
        points: each with ``cost``, a share of the dense MACs, and ``accuracy``, 0 to 1, or
            ``None`` where there was no plan; ``holds`` says whether it is good enough,
            ``name`` what it is, and ``colour`` how that is drawn, where that is known.
        least: the accuracy that is asked for.
    """
    known = [p for p in points if p["cost"] is not None and p["accuracy"] is not None]
    best = _unbeaten(known)
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
    shapes = [] if least is None else [_line_across(least)]
    return Figure(
        "front",
        "Accuracy by the share of the dense MACs, for all that was tried.",
        data,
        plane("of the dense MACs", "accuracy", {"tickformat": ".0%"}, {"tickformat": ".1%"})
        | {"shapes": shapes},
    )


def _unbeaten(points: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """List the points that no other beats in cost and accuracy, cheapest first."""
    best = [
        p
        for p in points
        if not any(
            o["cost"] <= p["cost"]
            and o["accuracy"] >= p["accuracy"]
            and (o["cost"], o["accuracy"]) != (p["cost"], p["accuracy"])
            for o in points
        )
    ]
    return sorted(best, key=lambda p: p["cost"])


def _line_across(height: float) -> dict[str, Any]:
    """Describe a dotted line across the whole chart, at a value of the vertical axis."""
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": height,
        "y1": height,
        "line": {"dash": "dot", "width": 1.5, "color": "var(--ink)"},
    }


def accuracies(measured: Mapping[str, Accuracies]) -> Figure:
    """Draw the accuracy of each run, clean and under each corruption."""
    names = ["clean", *dict.fromkeys(n for m in measured.values() for n in m.corrupted)]
    heights = {
        run: [found.clean if n == "clean" else found.corrupted.get(n) for n in names]
        for run, found in measured.items()
    }
    return Figure(
        "accuracies",
        "Accuracy on clean and on corrupted inputs.",
        _bars_of_runs(names, heights, "%{y:.2%}"),
        _side_by_side(340, "accuracy", runs=len(heights)),
    )


def costs(reports: Mapping[str, Report]) -> Figure:
    """Draw each run's costs as shares of its dense model's."""
    heights = {
        run: [
            r.after.macs / max(r.before.macs, 1),
            r.after.params / max(r.before.params, 1),
            r.after.weight_bytes / max(r.before.weight_bytes, 1),
        ]
        for run, r in reports.items()
    }
    return Figure(
        "costs",
        "What is left of the dense model's costs in each run.",
        _bars_of_runs(["MACs", "parameters", "weight bytes"], heights, "%{y:.1%} of dense"),
        _side_by_side(320, "of dense", runs=len(heights)),
    )


def _bars_of_runs(
    names: Sequence[str], heights: Mapping[str, Sequence[float | None]], shown: str
) -> list[dict[str, Any]]:
    """Make the bars of each run, one for each name.

    Args:
        names: what the bars stand for.
        heights: run -> height of each bar, if it has one.
        shown: how plotly writes a height under the pointer.
    """
    return [
        {
            "type": "bar",
            "name": short(run),
            "x": [*names],
            "y": [*found],
            "marker": {"color": RUNS[i % len(RUNS)]},
            "hovertemplate": f"%{{fullData.name}}<br>%{{x}}: {shown}<extra></extra>",
        }
        for i, (run, found) in enumerate(heights.items())
    ]


def _side_by_side(height: int, title: str, *, runs: int) -> dict[str, Any]:
    """Lay out the bars of several runs, which are shares from 0 to 1; one run needs no legend."""
    return layout(
        height,
        barmode="group",
        showlegend=runs > 1,
        xaxis=axis(""),
        yaxis=axis(title, tickformat=".0%", range=[0, 1]),
        legend=LEGEND,
    )
