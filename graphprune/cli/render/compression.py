"""Print the widths of a plan, the report of a compression, and the budgets that a search tries."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphprune.cli.console import console, line, table
from graphprune.report import text
from graphprune.report.checks import Check, checks
from graphprune.report.text import COSTS, amount, target
from graphprune.workflow.write import PAGE, REPORT

from .tables import cost_row, frozen_channels, group_widths

if TYPE_CHECKING:
    from rich.console import Console

    from graphprune.passes import Decision
    from graphprune.report.report import Report
    from graphprune.workflow.accuracy_search import Probe
    from graphprune.workflow.cut_checkpoint import CutCheckpoint

__all__ = ["checkpoint", "decision", "probe", "report"]


def decision(made: Decision, *, to_stderr: bool) -> None:
    """Print what ``graphprune plan`` decided."""
    out = console(to_stderr=to_stderr)
    group_widths(out, [(g.id, g.width, len(g.keep)) for g in made.plan.groups])
    table(
        out,
        ["", "before", "after", "change", ""],
        [
            cost_row(
                COSTS[each.cost],
                each.dense,
                each.reached,
                target(each.asked, each.bound, each.dense, met=each.met),
            )
            for each in made.budgets
        ],
        right=(1, 2, 3),
    )
    line(out, "allocation: ", text.allocation(asdict(made.allocation)))


def report(run: Report, folder: Path | None) -> None:
    """Print what ``graphprune compress`` did."""
    out = console()
    _sizes(out, run)
    group_widths(out, [(g.id, g.before, g.after) for g in run.groups])
    frozen_channels(out, run.frozen, run.unknown_operators)
    if run.inexact:
        table(
            out,
            ["cut inexactly", "operator", "where"],
            [[i["group"], i["operator"], i["where"]] for i in run.inexact],
            right=(),
        )
    _checks(out, run)
    line(out, "allocation: ", text.allocation(run.allocation))
    if run.lossless.get("groups"):
        reasons = ("unread", "zero", "constant", "duplicate", "combination")
        table(
            out,
            ["gone with no loss", *reasons],
            [
                [each["group"], *(str(each[name] or "") for name in reasons)]
                for each in run.lossless["groups"]
            ],
            right=(1, 2, 3, 4, 5),
        )
    if run.search:
        line(out, "accuracy: ", f"{text.searched(run.search)}; tried:")
        table(out, [""] * 5, [_probe(tried) for tried in run.search["probes"]], range(5))
    if run.recovery:
        line(out, f"recovered by {run.recovery['method']}: ", text.recovered(run.recovery))
    if run.distilled:
        line(out, "distilled: ", text.distilled(run.distilled))
    if run.finetuned:
        line(out, "fine-tuned: ", text.finetuned(run.finetuned))
    for note in run.notes:
        line(out, "note: ", note)
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in run.seconds.items())
    line(out, "", f"seconds: {stages}")
    if folder is None:
        line(out, "", "nothing was written")
        return
    files = [f"{name} ({amount(size)}B)" for name, size in run.files.items()]
    files += [name for name in (REPORT, PAGE) if (folder / name).is_file()]
    line(out, "wrote ", f"{folder}: {', '.join(files)}", style="bold")


def checkpoint(done: CutCheckpoint, model: str, path: Path) -> None:
    """Print what ``graphprune apply`` cut.

    Args:
        done: the checkpoint.
        model: what the smaller model is, in words.
        path: where it was written.
    """
    out = console()
    rows = [[name or "(all)", what, "cut"] for name, what in done.cut.items()]
    rows += [[name, "", "kept as it is"] for name in (*done.kept, *done.doubtful)]
    table(out, ["entry", "", ""], rows, right=())
    line(out, "model: ", model)
    if done.doubtful:
        line(out, "note: ", f"kept, though tensors may be in it: {', '.join(done.doubtful)}")
    line(out, "wrote ", str(path), style="bold")


def probe(tried: Probe) -> None:
    """Print one row of a search, on stderr, as soon as it is known."""
    cells = [
        text.rjust(width)
        for text, width in zip(_probe(asdict(tried)), (16, 14, 17, 14, 8), strict=True)
    ]
    sys.stderr.write("".join(cells) + "\n")


def _probe(tried: Mapping[str, Any]) -> list[str]:
    if tried["cost"] is None:
        return [f"budget {tried['budget']:.1%}", "-", "-", "-", "no plan"]
    return [
        f"budget {tried['budget']:.1%}",
        f"cost {tried['cost']:.1%}",
        f"accuracy {tried['accuracy']:.2%}",
        f"drop {tried['drop']:.2%}",
        "holds" if tried["holds"] else "fails",
    ]


def _sizes(out: Console, run: Report) -> None:
    targets = {
        each["cost"]: target(each["asked"], each["bound"], each["dense"], met=each["met"])
        for each in run.budgets
    }
    rows = [
        cost_row("MACs", run.before.macs, run.after.macs, targets.get("macs", "")),
        cost_row("parameters", run.before.params, run.after.params, targets.get("params", "")),
        cost_row("weight bytes", run.before.weight_bytes, run.after.weight_bytes),
        cost_row("activation bytes", run.before.activation_bytes, run.after.activation_bytes),
    ]
    rows += [
        cost_row(COSTS[each["cost"]], each["dense"], each["reached"], targets[each["cost"]])
        for each in run.budgets
        if each["cost"] not in ("macs", "params")
    ]
    if (files := run.file_sizes) is not None:
        names = f"{files.dense} -> {files.small}"
        rows.append(cost_row("file bytes", files.before, files.after, names))
    if run.batchnorm:
        before, after = run.batchnorm["before"], run.batchnorm["after"]
        rows.append([
            "BatchNorm calls",
            str(before),
            str(after),
            "",
            "folded in the ONNX file" if after < before else "",
        ])
    table(out, [run.model, "before", "after", "change", ""], rows, right=(1, 2, 3))


def _checks(out: Console, run: Report) -> None:
    rows = [
        [check.what, f"{check.error:.1e}", f"{check.tolerance:.0e}", _verdict(check)]
        for check in checks(run)
        if check.error is not None
    ]
    table(out, ["check", "error", "tolerance", ""], rows, right=(1, 2))
    if not run.eager["own_class"]:
        line(out, "", f"the trainable model is a GraphModule: {run.eager['reason']}")


def _verdict(check: Check) -> str:
    lost = f"float32 loses {check.rounding:.0e}" if check.rounding else ""
    return ", ".join(filter(None, ["ok" if check.ok else "WRONG", lost, check.inputs]))
