"""Collect what the page of one run says, in words and tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphprune.report import text
from graphprune.report.checks import checks
from graphprune.report.report import Report

from . import coupling, layer_charts, tradeoff_charts, treemap
from .accuracies import Accuracies
from .figure import Figure

__all__ = ["LISTED", "content", "figures", "settings"]

LISTED = 1000
"""Most rows of a table; ``report.json`` has them all."""


def figures(report: Report, accuracies: Accuracies | None) -> list[Figure]:
    """Draw the charts that a run has data for."""
    made = [coupling.figure(report), layer_charts.widths(report)]
    made += treemap.figures(report) if report.layers else ()
    made += [layer_charts.curves(report)] if report.curves else []
    made += [layer_charts.fits(report)] if report.recovery.get("fits") else []
    if report.search:
        least = report.search["dense"] - report.search["max_drop"]
        made.append(tradeoff_charts.pareto_front(report.search["probes"], least=least))
    if accuracies is not None:
        made.append(tradeoff_charts.accuracies({report.model: accuracies}))
    return made


def content(report: Report, accuracies: Accuracies | None) -> dict[str, Any]:
    """Collect what the page's template shows."""
    done = checks(report)
    return {
        "report": report,
        "title": f"{report.model}: graphprune report",
        "checks": done,
        "wrong": sum(check.ok is False for check in done),
        "budget": text.targets(report.budgets),
        "costs": text.COSTS,
        "settings": settings(report),
        "warnings": _warnings(report),
        "touched": _touched(report),
        "accuracies": accuracies,
        "measured": {report.model: accuracies} if accuracies else {},
        "corruptions": list(accuracies.corrupted) if accuracies else [],
        "sources": [accuracies.source] if accuracies else [],
        "listed": LISTED,
        "files": report.file_sizes,
    }


def settings(report: Report) -> list[tuple[str, str]]:
    """Describe how the widths were chosen and the weights came about."""
    rows = [
        ("score", report.settings.get("score", "unknown")),
        ("allocation", text.allocation(report.allocation)),
    ]
    if report.calibration:
        found = "{samples} samples of {source}, {skipped} skipped"
        rows.append(("calibration", found.format(**report.calibration)))
    if report.recovery:
        name = f"recovered by {report.recovery['method']}"
        rows.append((name, text.recovered(report.recovery)))
    if report.distilled:
        rows.append(("distilled", text.distilled(report.distilled)))
    if report.finetuned:
        rows.append(("fine-tuned", text.finetuned(report.finetuned)))
    if report.search:
        rows.append(("accuracy", text.searched(report.search)))
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return [*rows, ("versions", versions)]


def _warnings(report: Report) -> list[str]:
    found = [] if report.budget["met"] else ["the budget is missed"]
    found += [
        f"{check.what}: the error is above the tolerance"
        for check in checks(report)
        if check.ok is False
    ]
    found += [_unknown(entry) for entry in report.unknown_operators]
    if report.inexact:
        names = list(dict.fromkeys(entry["group"] for entry in report.inexact))
        found.append(f"{len(names)} groups were cut through statistics: {text.few(names, 5)}")
    return found


def _unknown(entry: Mapping[str, Any]) -> str:
    return (
        f"no rule for {entry['operator']} ({entry['where']}): what it touches is frozen, "
        f"{entry['macs_share']:.1%} of the MACs"
    )


def _touched(report: Report) -> Mapping[str, tuple[float, float]]:
    """Map each group to the MACs, before and after, of the layers that have it on either side."""
    found = {group.id: (0.0, 0.0) for group in report.groups}
    for layer in report.layers:
        for name in {*layer.reads, *layer.makes} & found.keys():
            before, after = found[name]
            found[name] = before + layer.before, after + layer.after
    return found
