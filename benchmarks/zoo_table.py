"""Write ``docs/zoo.md`` and ``results/zoo.json`` from what ``zoo.py`` measured.

python benchmarks/zoo_table.py
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PROVEN = 1e-8
"""Largest relative error of the oracle, in float64, that counts as proven."""

SAME = 0.0005
"""Largest difference between shares of parameters that count as the same."""

Row = Mapping[str, str]

COLUMNS: dict[str, Callable[[Row], str]] = {
    "model": lambda row: row["model"],
    "nodes": lambda row: row["nodes"],
    "analysis, s": lambda row: _number(row["analysis_s"], "{:.2f}"),
    "prunable": lambda row: _number(row["prunable"], "{:.1%}"),
    "FLOPs left": lambda row: _number(row["flops_got"], "{:.1%}"),
    "oracle": lambda row: row["oracle"],
    "ONNX": lambda row: row["onnx"],
    "returned as": lambda row: row["back"],
    "memory, MB": lambda row: row["peak_mb"],
    "output error, cut": lambda row: row.get("data_cut", ""),
    "refitted": lambda row: row.get("data_error", ""),
    "layers refitted": lambda row: row.get("data_refitted", ""),
    "memory, MB, s": lambda row: (
        f"{row['data_peak_mb']}, {float(row['data_s']):.0f}" if row.get("data_s") else ""
    ),
    "T-P": lambda row: {"y": "works"}.get(row["tp_works"], row["tp_works"]),
    "T-P prunable": lambda row: _number(row["tp_prunable"], "{:.1%}"),
}


def _number(value: str, form: str) -> str:
    return form.format(float(value)) if value else ""


def reached(row: Row) -> bool:
    return bool(row["flops_got"]) and float(row["flops_got"]) <= float(row["flops_asked"])


def repaired(row: Row) -> bool:
    """Whether a model meets the budget with no larger an error than that of the cut alone."""
    return (
        bool(row.get("data_error"))
        and float(row["data_flops"]) <= float(row["flops_asked"])
        and float(row["data_error"]) <= float(row["data_cut"])
    )


def proven(row: Row) -> bool:
    return bool(row["oracle"]) and float(row["oracle"]) <= PROVEN


def below(row: Row, column: str = "prunable") -> bool:
    """Whether Torch-Pruning works and reaches more of the parameters."""
    if row["tp_works"] != "y" or not row["tp_prunable"]:
        return False
    return float(row.get(column) or row["prunable"] or 0) < float(row["tp_prunable"]) - SAME


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Compute the figures that the targets of the project are about."""
    seconds = sorted(float(row["analysis_s"]) for row in rows if row["analysis_s"])
    compared = [row for row in rows if row["tp_works"] == "y" and row["tp_prunable"]]
    return {
        "models": len(rows),
        "analysed": sum(row["analysed"] == "y" for row in rows),
        "reached": sum(map(reached, rows)),
        "proven": sum(map(proven, rows)),
        "onnx": sum(bool(row["onnx"]) for row in rows),
        "own_class": sum(row["back"] == "own class" for row in rows),
        "class_run": sum(bool(row.get("class_s")) for row in rows),
        "class_kept": sum(row.get("class_back") == "own class" for row in rows),
        "analysis_s_95": seconds[max(0, -(-95 * len(seconds) // 100) - 1)] if seconds else None,
        "analysis_s_max": seconds[-1] if seconds else None,
        "data_run": sum(bool(row.get("data_s")) for row in rows),
        "data_done": sum(bool(row.get("data_error")) for row in rows),
        "data_repaired": sum(map(repaired, rows)),
        "torch_pruning_run": sum(bool(row["tp_works"]) for row in rows),
        "torch_pruning_works": sum(row["tp_works"] == "y" for row in rows),
        "prunable_compared": len(compared),
        "prunable_at_least": sum(not below(row) for row in compared),
        "prunable_inexact_at_least": sum(not below(row, "prunable_inexact") for row in compared),
    }


def document(rows: Sequence[Row]) -> str:
    """Write the page in Markdown."""
    found = summary(rows)
    of = f"of {found['models']}"
    facts = [
        ("analysed without an exception", f"{found['analysed']} {of}"),
        ("reach half of their FLOPs", f"{found['reached']} {of}"),
        (f"cuts verified in float64, to {PROVEN:.0e}", f"{found['proven']} of {found['reached']}"),
        ("export to ONNX and agree with onnxruntime", f"{found['onnx']} {of}"),
        ("returned as the user's own class", f"{found['own_class']} {of}"),
        (
            "returned as the class with `--keep-class`, of those that are not without it",
            f"{found['class_kept']} of {found['class_run']} run",
        ),
        (
            "analysis, CPU seconds, 95th percentile and longest",
            f"{found['analysis_s_95']}, {found['analysis_s_max']}",
        ),
        (
            "chosen and refitted with 16 random inputs, within the budget and the time limit",
            f"{found['data_repaired']} of {found['data_run']} run",
        ),
        (
            "Torch-Pruning works",
            f"{found['torch_pruning_works']} of {found['torch_pruning_run']} run",
        ),
        (
            "prunable share at least that of Torch-Pruning, where it works, with exact cuts only",
            f"{found['prunable_at_least']} of {found['prunable_compared']}",
        ),
        (
            "the same with `--allow-inexact`, which cuts through LayerNorm and GroupNorm as Torch-Pruning does",
            f"{found['prunable_inexact_at_least']} of {found['prunable_compared']}",
        ),
    ]
    return "\n".join([
        "# The zoo",
        "",
        "Published architectures with random weights, cut to half of their FLOPs by graphprune, and to half of",
        "their channels by Torch-Pruning. `benchmarks/zoo.py` measures the figures and describes the columns;",
        "`benchmarks/zoo_table.py` writes this page.",
        "",
        "| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in facts),
        "",
        "## Not reached, and why", "", *_reasons(rows), "",
        "## Every model", "",
        f"| {' | '.join(COLUMNS)} |",
        f"| --- |{' ---: |' * (len(COLUMNS) - 1)}",
        *(f"| {' | '.join(cell(row) for cell in COLUMNS.values())} |" for row in rows),
        "",
    ])  # fmt: skip


def _reasons(rows: Iterable[Row]) -> list[str]:
    lines: list[str] = []
    for row in rows:
        if row["error"]:
            lines.append(f"* {row['model']}, {row['stage']}: {row['error']}: {row['reason']}")
        if row.get("data_reason"):
            lines.append(
                f"* {row['model']}, with inputs, {row['data_stage']}: {row['data_reason']}"
            )
        if row["unknown"]:
            lines.append(f"* {row['model']}: no rule for {row['unknown']}")
        if below(row):
            inexact = row.get("prunable_inexact")
            also = f", {float(inexact):.1%} with `--allow-inexact`" if inexact else ""
            lines.append(
                f"* {row['model']}: {float(row['prunable']):.1%} of the parameters are "
                f"prunable{also}, with Torch-Pruning {float(row['tp_prunable']):.1%}"
            )
        if row["back_reason"]:
            lines.append(f"* {row['model']} is returned as a GraphModule: {row['back_reason']}")
    return lines or ["None."]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the page and the summary of the zoo.")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder to read")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "zoo.md")
    options = parser.parse_args()
    with (options.results / "zoo.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    options.page.write_text(document(rows), encoding="utf-8")
    text = json.dumps(summary(rows), indent=2) + "\n"
    (options.results / "zoo.json").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
