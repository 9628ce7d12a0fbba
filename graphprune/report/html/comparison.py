"""Collect what the page that compares several runs says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphprune.report.checks import checks
from graphprune.report.report import Report
from graphprune.report.text import targets

from . import tradeoff_charts
from .accuracies import Accuracies
from .figure import RUNS, Figure
from .run import LISTED

__all__ = ["content", "figures"]


def figures(reports: Mapping[str, Report], measured: Mapping[str, Accuracies]) -> list[Figure]:
    """Draw the charts that there are data for."""
    made = [tradeoff_charts.costs(reports)]
    if measured:
        made.append(tradeoff_charts.accuracies(measured))
    points = [
        {
            "name": name,
            "cost": report.after.macs / max(report.before.macs, 1),
            "colour": RUNS[i % len(RUNS)],
            "accuracy": accuracy,
        }
        for i, (name, report) in enumerate(reports.items())
        if (accuracy := _accuracy(report, measured.get(name))) is not None
    ]
    return [*made, tradeoff_charts.pareto_front(points)] if points else made


def content(reports: Mapping[str, Report], measured: Mapping[str, Accuracies]) -> dict[str, Any]:
    """Collect what the page's template shows."""
    names = list(dict.fromkeys(group.id for r in reports.values() for group in r.groups))
    widths = {name: {group.id: group for group in r.groups} for name, r in reports.items()}
    return {
        "title": "graphprune comparison",
        "reports": reports,
        "budgets": {name: targets(r.budgets) for name, r in reports.items()},
        "wrong": {
            name: sum(check.ok is False for check in checks(r)) for name, r in reports.items()
        },
        "accuracy": {name: _accuracy(r, measured.get(name)) for name, r in reports.items()},
        "same": len({(r.model, r.before) for r in reports.values()}) == 1,
        "measured": measured,
        "corruptions": list(dict.fromkeys(c for m in measured.values() for c in m.corrupted)),
        "sources": list(dict.fromkeys(m.source for m in measured.values())),
        "groups": names[:LISTED],
        "more": max(len(names) - LISTED, 0),
        "widths": widths,
    }


def _accuracy(report: Report, measured: Accuracies | None) -> float | None:
    """Return the accuracy measured now, or else the one that the run's search measured."""
    return measured.clean if measured is not None else report.search.get("accuracy")
