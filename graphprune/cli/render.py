"""All printing. Rich tables on a terminal; the same in plain fixed width anywhere else."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphprune import wording
from graphprune.artifacts import PAGE, REPORT
from graphprune.wording import COSTS, amount, change, printable, target

if TYPE_CHECKING:
    from rich.console import Console

    from graphprune.bench import Benchmark
    from graphprune.check import Comparison
    from graphprune.errors import GraphpruneError
    from graphprune.front import Front
    from graphprune.inspection import Inspection
    from graphprune.latency import LatencyTable
    from graphprune.page import Accuracies
    from graphprune.passes import Decision
    from graphprune.report import Report
    from graphprune.search import Probe
    from graphprune.why import Step

__all__ = [
    "accuracies",
    "benchmark",
    "bug",
    "comparison",
    "decision",
    "failure",
    "front",
    "inspection",
    "latency_table",
    "probe",
    "report",
    "text",
]

# Where nobody sees a terminal's edge, nothing is wrapped.
_PLAIN_WIDTH = 10_000
_AXES_SHOWN = 2


def text(document: str) -> None:
    """A document as it is, on stdout."""
    sys.stdout.write(document if document.endswith("\n") else document + "\n")


def failure(error: GraphpruneError) -> None:
    """An error the user can act on, on stderr."""
    console = _console(to_stderr=True)
    where = f" ({error.where})" if error.where else ""
    _line(console, f"error[{error.code}]: ", f"{error.message}{where}", style="bold red")
    if error.hint:
        _line(console, "  hint: ", error.hint, style="bold")


def bug(error: Exception) -> None:
    """An error that is ours, on stderr."""
    sys.stderr.write("".join(traceback.format_exception(error)))
    sys.stderr.write("internal error: this is a bug in graphprune, please report it with the "
                     "lines above\n")


def inspection(view: Inspection) -> None:
    """``graphprune inspect``."""
    console = _console()
    _table(console, ["", ""], [
        ["model", view.model],
        ["MACs", amount(view.dense.macs)],
        ["FLOPs", amount(view.flops)],
        ["parameters", amount(view.dense.params)],
        ["prunable parameters", f"{view.prunable_params:.1%}"],
        ["prunable MACs", f"{view.prunable_macs:.1%}"],
    ], right=())
    _table(console, ["group", "width", "axes", "of MACs", "such as"], [
        [g.id, str(g.width), str(len(g.axes)), f"{g.macs_share:.1%}",
         _some(g.axes) + (f" (inexact: {_some(g.inexact)})" if g.inexact else "")]
        for g in view.groups
    ], right=(1, 2, 3))
    _held(console, view.frozen, view.unknown_operators)


def chain(name: str, steps: Sequence[Step], *, as_json: bool) -> None:
    """``graphprune inspect --why``."""
    if as_json:
        text(json.dumps({"format": "graphprune.why/1", "name": name,
                         "steps": [asdict(step) for step in steps]}, indent=2))
        return
    rows = [[step.says, step.operator, step.where] for step in steps]
    _table(_console(), [name, "operator", "where"], rows, right=())


def decision(made: Decision, *, to_stderr: bool) -> None:
    """``graphprune plan``."""
    console = _console(to_stderr=to_stderr)
    _widths(console, [(g.id, g.width, len(g.keep)) for g in made.plan.groups])
    _table(console, ["", "before", "after", "change", ""], [
        _row(COSTS[each.cost], each.dense, each.reached,
             target(each.asked, each.bound, each.dense, met=each.met)) for each in made.budgets
    ], right=(1, 2, 3))
    _line(console, "allocation: ", wording.allocation(asdict(made.allocation)))


def probe(tried: Probe) -> None:
    """One row of a search, on stderr, as soon as it is known."""
    cells = [text.rjust(width) for text, width in zip(_probe(asdict(tried)), (16, 14, 17, 14, 8),
                                                      strict=True)]
    sys.stderr.write("".join(cells) + "\n")


def _probe(tried: Mapping[str, Any]) -> list[str]:
    if tried["cost"] is None:
        return [f"budget {tried['budget']:.1%}", "-", "-", "-", "no plan"]
    return [f"budget {tried['budget']:.1%}", f"cost {tried['cost']:.1%}",
            f"accuracy {tried['accuracy']:.2%}", f"drop {tried['drop']:.2%}",
            "holds" if tried["holds"] else "fails"]


def report(run: Report, folder: Path | None) -> None:
    """``graphprune compress``."""
    console = _console()
    _sizes(console, run)
    _widths(console, [(g.id, g.before, g.after) for g in run.groups])
    _held(console, run.frozen, run.unknown_operators)
    if run.inexact:
        _table(console, ["cut inexactly", "operator", "where"],
               [[i["group"], i["operator"], i["where"]] for i in run.inexact], right=())
    _checks(console, run)
    _line(console, "allocation: ", wording.allocation(run.allocation))
    if run.search:
        _line(console, "accuracy: ", f"{wording.searched(run.search)}; tried:")
        _table(console, [""] * 5, [_probe(tried) for tried in run.search["probes"]], range(5))
    if run.recovery:
        _line(console, f"recovered by {run.recovery['method']}: ", wording.recovered(run.recovery))
    if run.distilled:
        _line(console, "distilled: ", wording.distilled(run.distilled))
    for note in run.notes:
        _line(console, "note: ", note)
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in run.seconds.items())
    _line(console, "", f"seconds: {stages}")
    if folder is None:
        _line(console, "", "nothing was written")
        return
    files = [f"{name} ({amount(size)}B)" for name, size in run.files.items()]
    files += [name for name in (REPORT, PAGE) if (folder / name).is_file()]
    _line(console, "wrote ", f"{folder}: {', '.join(files)}", style="bold")


def accuracies(measured: Mapping[str, Accuracies]) -> None:
    """``graphprune report --val``."""
    names = list(dict.fromkeys(n for found in measured.values() for n in found.corrupted))
    _table(_console(), ["accuracy", "clean", *names], [
        [name, f"{found.clean:.1%}", *(f"{found.corrupted[n]:.1%}" for n in names)]
        for name, found in measured.items()
    ], right=range(1, len(names) + 2))


def comparison(found: Comparison) -> None:
    """``graphprune verify``."""
    console = _console()
    against = "the masked original" if found.masked else "the original (no plan)"
    if found.retrained:
        against += " with these weights"
    _table(console, ["file", f"error against {against}", "tolerance", ""], [
        [c.file, "-" if c.max_error is None else f"{c.max_error:.1e}", f"{c.tolerance:.0e}",
         "ok" if c.ok else f"MISMATCH {c.reason}".strip()]
        for c in found.checks
    ], right=(1, 2))
    if found.own_weights and not found.retrained:
        _line(console, "note: ", f"weights that aren't the original's: {found.own_weights} tensors; if they were "
              "recovered or trained after the cut, --retrained compares the rest")


def benchmark(found: Benchmark) -> None:
    """``graphprune bench``."""
    console = _console()
    _line(console, "", f"onnxruntime {found.onnxruntime}, {found.provider}, {found.rounds} rounds in turn")
    _table(console, ["file", "batch", "threads", "median", "quartiles", "ratio", "quartiles"], [
        [t.file, str(t.batch), str(t.threads), _milliseconds(t.seconds.median),
         f"{_milliseconds(t.seconds.low)} to {_milliseconds(t.seconds.high)}",
         f"{t.ratio.median:.3f}", f"{t.ratio.low:.3f} to {t.ratio.high:.3f}"]
        for t in found.timings
    ], right=(1, 2, 3, 4, 5, 6))


def front(found: Front, folder: Path) -> None:
    """``graphprune sweep``."""
    console = _console()
    rows = [[f"{p.asked:.1%}", *("-" if v is None else form.format(v) for v, form in (
        (p.flops, "{:.1%}"), (p.params, "{:.1%}"), (p.distortion, "{:.4g}"),
        (p.latency, "{:.4g} ms"), (p.accuracy, "{:.2%}")))] for p in found.points]
    _table(console, ["budget", "FLOPs", "parameters", "distortion", "latency", "accuracy"], rows,
           right=range(6))
    _line(console, "wrote ", str(folder), style="bold")


def latency_table(table: LatencyTable, path: Path) -> None:
    """``graphprune profile``."""
    console = _console()
    rows = [[name, str(value)] for name, value in table.machine.items()]
    rows += [["batch", str(table.batch)], ["distinct operators", str(len(table.kernels))]]
    if table.error:
        rows += [["whole networks measured", f"{table.error['networks']:.0f}"],
                 ["mean error of the prediction", f"{table.error['mean']:.1%}"],
                 ["largest error", f"{table.error['largest']:.1%}"]]
    _table(console, ["", ""], rows, right=())
    _line(console, "wrote ", str(path), style="bold")


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.4g} ms"


def _sizes(console: Console, run: Report) -> None:
    targets = {each["cost"]: target(each["asked"], each["bound"], each["dense"], met=each["met"])
               for each in run.budgets}
    rows = [
        _row("MACs", run.before.macs, run.after.macs, targets.get("macs", "")),
        _row("parameters", run.before.params, run.after.params, targets.get("params", "")),
        _row("weight bytes", run.before.weight_bytes, run.after.weight_bytes),
        _row("activation bytes", run.before.activation_bytes, run.after.activation_bytes),
    ]
    rows += [_row(COSTS[each["cost"]], each["dense"], each["reached"], targets[each["cost"]])
             for each in run.budgets if each["cost"] not in ("macs", "params")]
    written = "model.pt2" if str(run.source.get("file")).endswith(".pt2") else "model.pt"
    if run.source and written in run.files:
        rows.append(_row("file bytes", run.source["bytes"], run.files[written],
                         f"{run.source['file']} -> {written}"))
    if run.batchnorm:
        before, after = run.batchnorm["before"], run.batchnorm["after"]
        rows.append(["BatchNorm calls", str(before), str(after), "", "folded in the ONNX file"])
    _table(console, [run.model, "before", "after", "change", ""], rows, right=(1, 2, 3))


def _widths(console: Console, groups: Sequence[tuple[str, int, int]]) -> None:
    _table(console, ["group", "before", "after", "change"], [
        [name, str(before), str(after), change(before, after)] for name, before, after in groups
    ], right=(1, 2, 3))


def _held(console: Console, frozen: Sequence[Mapping[str, Any]],
          unknown: Sequence[Mapping[str, Any]]) -> None:
    """Frozen channels, and operators without a rule."""
    if frozen:
        _table(console, ["frozen channels", "of MACs", "why", "where", "axes"], [
            [str(f["channels"]), f"{f['macs_share']:.1%}", f["reason"],
             f["where"] or f["operator"], _some(f["axes"])] for f in frozen
        ], right=(0, 1))
    if unknown:
        _table(console, ["no rule for", "where", "locks of MACs"], [
            [u["operator"], u["where"], f"{u['macs_share']:.1%}"] for u in unknown
        ], right=(2,))


def _checks(console: Console, run: Report) -> None:
    batches = " and ".join(map(str, sorted(set(run.oracle["batches"]))))
    rows = [_check("cut against masked original, float64", run.oracle)]
    rows[0][-1] += f", batches of {batches}"
    if run.eager["own_class"]:
        tolerance = run.oracle["tolerance"]
        rows.append(_check(f"{run.model} against cut program, float64",
                           {**run.eager, "tolerance": tolerance}))
    if run.onnx:
        rows.append(_check("onnxruntime against PyTorch", run.onnx))
        if "fp16_error" in run.onnx:
            rows.append(_check("float16 in onnxruntime against PyTorch", {
                "max_error": run.onnx["fp16_error"], "tolerance": run.onnx["fp16_tolerance"]}))
    _table(console, ["check", "error", "tolerance", ""], rows, right=(1, 2))
    if not run.eager["own_class"]:
        _line(console, "", f"the trainable model is a GraphModule: {run.eager['reason']}")


def _check(what: str, found: Mapping[str, Any]) -> list[str]:
    error, tolerance = found["max_error"], found["tolerance"]
    return [what, f"{error:.1e}", f"{tolerance:.0e}", "ok" if error <= tolerance else "WRONG"]



def _row(name: str, before: float, after: float, note: str = "") -> list[str]:
    return [name, amount(before), amount(after), change(before, after), note]


def _some(axes: Sequence[str]) -> str:
    more = f" and {len(axes) - _AXES_SHOWN} more" if len(axes) > _AXES_SHOWN else ""
    return ", ".join(axes[:_AXES_SHOWN]) + more


def _console(*, to_stderr: bool = False) -> Console:
    from rich.console import Console

    stream = sys.stderr if to_stderr else sys.stdout
    width = None if stream.isatty() else _PLAIN_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def _line(console: Console, label: str, message: str, *, style: str = "") -> None:
    from rich.text import Text

    console.print(Text.assemble((label, style), printable(message)), soft_wrap=True)


def _table(console: Console, titles: Sequence[str], rows: Iterable[Sequence[str]],
           right: Sequence[int]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold",
                  show_header=any(titles))
    for number, title in enumerate(titles):
        table.add_column(printable(title), justify="right" if number in right else "left",
                         overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    with console.capture() as captured:
        console.print(table)
    lines = [line.rstrip() for line in captured.get().splitlines()]
    console.file.write("\n".join([*lines, "", ""]))
