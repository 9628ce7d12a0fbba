"""Write ``docs/owner.md`` from what ``owner.py`` measured.

python benchmarks/owner_table.py
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from owner_nets import MODELS

HERE = Path(__file__).resolve().parent
RESULTS, PAGE = HERE / "results" / "owner.csv", HERE.parent / "docs" / "owner.md"
SAME = 1e-6
"""Largest relative difference of a model that was loaded again."""

Row = dict[str, str]

HEAD = """# What comes back

Published architectures with random weights whose channels differ by log-normal factors, cut to half of their FLOPs with the default options.
Then, for each: the state dict is saved, and a new process cuts the dense model by the plan and loads it; a training step is made with the
carried AdamW; and the ONNX file is compared in onnxruntime. `benchmarks/owner.py` measures this and describes the columns;
`benchmarks/owner_table.py` writes this page.
"""


INEXACT = """\
A difference above 1e-06 comes of a number that stands in the class's code and would have to change with a width, such as the epsilon of a norm over
the channels (ConvNeXt): no field of the config holds it."""


def number(text: str) -> float:
    """Read the number at the beginning of a cell; infinite if there is none."""
    try:
        return float(text.split(maxsplit=1)[0])
    except (IndexError, ValueError):
        return float("inf")


def count(rows: Sequence[Row], holds: Callable[[Row], bool]) -> str:
    """Say of how many rows something holds."""
    return f"{sum(map(holds, rows))} of {len(rows)}"


def ages(rows: Sequence[Row], column: str) -> str:
    """Say how many rows were measured on one state of the code."""
    states = Counter(row.get(column, "") for row in rows)
    ((_, most),) = states.most_common(1)
    if len(states) == 1:
        return f"all {most} on one state of the code"
    return f"{most} of {len(rows)} on one state of the code, the others on other ones"


def page(rows: Sequence[Row]) -> str:
    """Write the page."""
    library = [row for row in rows if row.get("pretrained")]
    reloaded = [row for row in library if number(row["pretrained"]) <= SAME]
    measured = (
        f"\nRows were measured one by one: {ages(rows, 'state')}; "
        f"what concerns `from_pretrained`, {ages(library, 'state_pretrained')}.\n"
        "What any widths give (their class, their seconds, the rise of the loss) may be of an older state.\n"
    )
    lines = [HEAD + measured, "| | |", "| --- | --- |"]
    lines += [
        f"| {what} | {value} |"
        for what, value in (
            (
                "models that were run, of those that the script lists",
                f"{len(rows)} of {len(MODELS)}",
            ),
            ("returned as their own class", count(rows, lambda r: r["own"] == "y")),
            (
                "the same with any widths, of those that were run so",
                count([row for row in rows if row["own_any"]], lambda r: r["own_any"] == "y"),
            ),
            ("within the budget", count(rows, lambda r: number(r["flops"]) <= 0.5)),
            ("reloaded in a new process", count(rows, lambda r: number(r["loads"]) <= SAME)),
            ("a training step with the carried optimiser", count(rows, lambda r: r["step"] == "y")),
            ("the ONNX file agrees", count(rows, lambda r: number(r["onnx"]) < float("inf"))),
            (
                "of transformers, reloaded by `from_pretrained`",
                f"{len(reloaded)} of {len(library)} run",
            ),
        )
    ]
    failed = [row for row in rows if row.get("error")]
    kept = [row for row in library if row not in reloaded]
    if failed or kept:
        lines += ["", "## Not reached, and why", ""]
        lines += [f"* {row['model']}, {row['stage']}: {row['error']}" for row in failed]
        lines += [f"* {row['model']}, `from_pretrained`: {row['pretrained']}" for row in kept]
        lines += ["", INEXACT]
    lines += [
        "", "## Every model", "",
        "| model | class | with any widths | FLOPs left | left whole | rise of the loss | s | s, any | reload | step | ONNX | `from_pretrained` |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: | --- |",
    ]  # fmt: skip
    for row in rows:
        cells = [
            row["model"], row["own"], row["own_any"], row["flops"], f"{row['whole']} of {row['groups']}",
            row["cost"], row["seconds"], row["seconds_any"], row["loads"], row["step"], row["onnx"],
            row["pretrained"] if number(row.get("pretrained", "")) < float("inf") else "",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the rows and write the page."""
    with RESULTS.open(newline="", encoding="utf-8") as file:
        PAGE.write_text(page(list(csv.DictReader(file))), encoding="utf-8")


if __name__ == "__main__":
    main()
