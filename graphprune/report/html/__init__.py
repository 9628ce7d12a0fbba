"""Make the HTML page of a report, one file that opens offline. What does the page show, and is it safe?

``one`` shows a run, ``several`` compares runs. Both take reports and nothing else, so a page can
be made again from ``report.json``. The same reports give the same bytes.

Whatever comes out of a model's file (module paths, operators, source lines) is hostile: see
``graphprune.report.html.document``.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphprune.report.report import Report

from . import comparison, run
from .accuracies import Accuracies
from .document import render

__all__ = ["Accuracies", "one", "several"]


def one(report: Report, accuracies: Accuracies | None = None) -> str:
    """Make the page of one run.

    Args:
        report: of the run.
        accuracies: of the smaller model on labelled data, if they were measured.
    """
    figures = run.figures(report, accuracies)
    return render("run.html", run.content(report, accuracies), figures)


def several(
    reports: Mapping[str, Report], accuracies: Mapping[str, Accuracies] | None = None
) -> str:
    """Make a page that compares runs side by side.

    Args:
        reports: name to show -> report, at least one.
        accuracies: by the same names, if they were measured.
    """
    measured = accuracies or {}
    figures = comparison.figures(reports, measured)
    return render("comparison.html", comparison.content(reports, measured), figures)
