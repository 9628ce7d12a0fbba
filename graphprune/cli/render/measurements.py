"""Print what was measured: errors, times, accuracies and budget curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from graphprune.cli.console import console, line, table

if TYPE_CHECKING:
    from graphprune.export.bench import Benchmark
    from graphprune.plan.latency_table import LatencyTable
    from graphprune.report.budget_curve import BudgetCurve
    from graphprune.report.html import Accuracies
    from graphprune.workflow.comparison import Comparison

__all__ = ["accuracies", "benchmark", "budget_curve", "checkpoints", "comparison", "latency_table"]


def accuracies(measured: Mapping[str, Accuracies]) -> None:
    """Print what ``graphprune report --val`` measured."""
    names = list(dict.fromkeys(n for found in measured.values() for n in found.corrupted))
    table(
        console(),
        ["accuracy", "clean", *names],
        [
            [name, *map(_share, (found.clean, *map(found.corrupted.get, names)))]
            for name, found in measured.items()
        ],
        right=range(1, len(names) + 2),
    )


def comparison(found: Comparison) -> None:
    """Print what ``graphprune verify`` compared."""
    out = console()
    against = "the masked original" if found.masked else "the original (no plan)"
    if found.retrained:
        against += " with these weights"
    table(
        out,
        ["file", f"error against {against}", "tolerance", ""],
        [
            [
                c.file,
                "-" if c.max_error is None else f"{c.max_error:.1e}",
                f"{c.tolerance:.0e}",
                "ok" if c.ok else f"MISMATCH {c.reason}".strip(),
            ]
            for c in found.checks
        ],
        right=(1, 2),
    )
    if found.own_weights and not found.retrained:
        line(
            out,
            "note: ",
            f"weights that aren't the original's: {found.own_weights} tensors; if they were "
            "recovered or trained after the cut, --retrained compares the rest",
        )


def benchmark(found: Benchmark) -> None:
    """Print what ``graphprune bench`` measured."""
    out = console()
    line(
        out, "", f"onnxruntime {found.onnxruntime}, {found.provider}, {found.rounds} rounds in turn"
    )
    table(
        out,
        ["file", "batch", "threads", "median", "quartiles", "ratio", "quartiles"],
        [
            [
                t.file,
                str(t.batch),
                str(t.threads or "default"),
                _milliseconds(t.seconds.median),
                f"{_milliseconds(t.seconds.low)} to {_milliseconds(t.seconds.high)}",
                f"{t.ratio.median:.3f}",
                f"{t.ratio.low:.3f} to {t.ratio.high:.3f}",
            ]
            for t in found.timings
        ],
        right=(1, 2, 3, 4, 5, 6),
    )


def budget_curve(found: BudgetCurve, folder: Path) -> None:
    """Print what ``graphprune sweep`` found."""
    out = console()
    rows = [
        [
            f"{p.asked:.1%}",
            *(
                "-" if v is None else form.format(v)
                for v, form in (
                    (p.flops, "{:.1%}"),
                    (p.params, "{:.1%}"),
                    (p.distortion, "{:.4g}"),
                    (p.latency, "{:.4g} ms"),
                    (p.accuracy, "{:.2%}"),
                )
            ),
        ]
        for p in found.points
    ]
    table(
        out,
        ["budget", "FLOPs", "parameters", "distortion", "latency", "accuracy"],
        rows,
        right=range(6),
    )
    line(out, "wrote ", str(folder), style="bold")


def latency_table(measured: LatencyTable, path: Path) -> None:
    """Print what ``graphprune profile`` measured."""
    out = console()
    machine = dict(measured.machine)
    if not machine.get("threads", 1):
        machine["threads"] = "default"
    rows = [[name, str(value)] for name, value in machine.items()]
    rows += [["batch", str(measured.batch)], ["distinct operators", str(len(measured.kernels))]]
    if measured.error:
        rows += [
            ["whole networks measured", f"{measured.error['networks']:.0f}"],
            ["mean error of the prediction", f"{measured.error['mean']:.1%}"],
            ["largest error", f"{measured.error['largest']:.1%}"],
        ]
    table(out, ["", ""], rows, right=())
    line(out, "wrote ", str(path), style="bold")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.4g} ms"


def checkpoints(curves: Mapping[str, BudgetCurve], folder: Path) -> None:
    """Print which of several checkpoints ``graphprune sweep`` found best at each budget."""
    from graphprune.report import checkpoint_curves

    figure, best = checkpoint_curves.compared_by(curves), checkpoint_curves.best(curves)
    form = "{:.2%}" if figure == "accuracy" else "{:.4g}"
    asked = sorted({point.asked for curve in curves.values() for point in curve.points})
    rows: list[list[str]] = []
    for name, curve in curves.items():
        known = {point.asked: getattr(point, figure) for point in curve.points}
        cells = ["-" if (v := known.get(a)) is None else form.format(v) for a in asked]
        marks = [" *" if best.get(a) == name else "" for a in asked]
        rows.append([name, *map("".join, zip(cells, marks, strict=True))])
    out = console()
    heads = [f"{figure} at {share:.1%}" for share in asked]
    table(out, ["checkpoint", *heads], rows, right=range(1, len(asked) + 1))
    line(out, "wrote ", str(folder), style="bold")
