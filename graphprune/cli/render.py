"""What each command prints."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphprune.report import text
from graphprune.report.text import COSTS, amount, change, target
from graphprune.workflow.write import PAGE, REPORT

from .console import console, line, table
from .options import flag

if TYPE_CHECKING:
    from rich.console import Console

    from graphprune.analysis.why import ExplanationStep
    from graphprune.errors import GraphpruneError
    from graphprune.export.bench import Benchmark
    from graphprune.passes import Decision
    from graphprune.plan.latency_table import LatencyTable
    from graphprune.report.budget_curve import Front
    from graphprune.report.html import Accuracies
    from graphprune.report.inspection import Inspection
    from graphprune.report.report import Report
    from graphprune.workflow.accuracy_search import Probe
    from graphprune.workflow.compare_files import Comparison

__all__ = [
    "accuracies",
    "benchmark",
    "bug",
    "comparison",
    "decision",
    "document",
    "failure",
    "front",
    "inspection",
    "latency_table",
    "probe",
    "report",
]

_AXES_SHOWN = 2


def document(text: str) -> None:
    """A document as it is, on stdout."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def failure(error: GraphpruneError) -> None:
    """An error the user can act on, on stderr."""
    out = console(to_stderr=True)
    where = f" ({error.where})" if error.where else ""
    line(out, f"error[{error.code}]: ", f"{error.message}{where}", style="bold red")
    flags = ", ".join(map(flag, error.options))
    if error.hint:
        line(out, "  hint: ", f"{error.hint} ({flags})" if flags else error.hint, style="bold")
    elif flags:
        line(out, "  see: ", flags, style="bold")


def bug(error: Exception) -> None:
    """An error that is ours, on stderr."""
    sys.stderr.write("".join(traceback.format_exception(error)))
    sys.stderr.write(
        "internal error: this is a bug in graphprune, please report it with the lines above\n"
    )


def inspection(view: Inspection) -> None:
    """Print what ``graphprune inspect`` found."""
    out = console()
    table(
        out,
        ["", ""],
        [
            ["model", view.model],
            ["MACs", amount(view.dense.macs)],
            ["FLOPs", amount(view.flops)],
            ["parameters", amount(view.dense.params)],
            ["prunable parameters", f"{view.prunable_params:.1%}"],
            ["prunable MACs", f"{view.prunable_macs:.1%}"],
        ],
        right=(),
    )
    table(
        out,
        ["group", "width", "axes", "of MACs", "such as"],
        [
            [
                g.id,
                str(g.width),
                str(len(g.axes)),
                f"{g.macs_share:.1%}",
                _some(g.axes) + (f" (inexact: {_some(g.inexact)})" if g.inexact else ""),
            ]
            for g in view.groups
        ],
        right=(1, 2, 3),
    )
    _held(out, view.frozen, view.unknown_operators)


def chain(name: str, steps: Sequence[ExplanationStep], *, as_json: bool) -> None:
    """Print the chain that ``graphprune inspect --why`` found."""
    if as_json:
        document(
            json.dumps(
                {
                    "format": "graphprune.why/1",
                    "name": name,
                    "steps": [asdict(step) for step in steps],
                },
                indent=2,
            )
        )
        return
    rows = [[step.says, step.operator, step.where] for step in steps]
    table(console(), [name, "operator", "where"], rows, right=())


def decision(made: Decision, *, to_stderr: bool) -> None:
    """Print what ``graphprune plan`` decided."""
    out = console(to_stderr=to_stderr)
    _widths(out, [(g.id, g.width, len(g.keep)) for g in made.plan.groups])
    table(
        out,
        ["", "before", "after", "change", ""],
        [
            _row(
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


def probe(tried: Probe) -> None:
    """One row of a search, on stderr, as soon as it is known."""
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


def report(run: Report, folder: Path | None) -> None:
    """Print what ``graphprune compress`` did."""
    out = console()
    _sizes(out, run)
    _widths(out, [(g.id, g.before, g.after) for g in run.groups])
    _held(out, run.frozen, run.unknown_operators)
    if run.inexact:
        table(
            out,
            ["cut inexactly", "operator", "where"],
            [[i["group"], i["operator"], i["where"]] for i in run.inexact],
            right=(),
        )
    _checks(out, run)
    line(out, "allocation: ", text.allocation(run.allocation))
    if run.search:
        line(out, "accuracy: ", f"{text.searched(run.search)}; tried:")
        table(out, [""] * 5, [_probe(tried) for tried in run.search["probes"]], range(5))
    if run.recovery:
        line(out, f"recovered by {run.recovery['method']}: ", text.recovered(run.recovery))
    if run.distilled:
        line(out, "distilled: ", text.distilled(run.distilled))
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


def accuracies(measured: Mapping[str, Accuracies]) -> None:
    """Print what ``graphprune report --val`` measured."""
    names = list(dict.fromkeys(n for found in measured.values() for n in found.corrupted))
    table(
        console(),
        ["accuracy", "clean", *names],
        [
            [name, f"{found.clean:.1%}", *(f"{found.corrupted[n]:.1%}" for n in names)]
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
                str(t.threads),
                _milliseconds(t.seconds.median),
                f"{_milliseconds(t.seconds.low)} to {_milliseconds(t.seconds.high)}",
                f"{t.ratio.median:.3f}",
                f"{t.ratio.low:.3f} to {t.ratio.high:.3f}",
            ]
            for t in found.timings
        ],
        right=(1, 2, 3, 4, 5, 6),
    )


def front(found: Front, folder: Path) -> None:
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
    rows = [[name, str(value)] for name, value in measured.machine.items()]
    rows += [["batch", str(measured.batch)], ["distinct operators", str(len(measured.kernels))]]
    if measured.error:
        rows += [
            ["whole networks measured", f"{measured.error['networks']:.0f}"],
            ["mean error of the prediction", f"{measured.error['mean']:.1%}"],
            ["largest error", f"{measured.error['largest']:.1%}"],
        ]
    table(out, ["", ""], rows, right=())
    line(out, "wrote ", str(path), style="bold")


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.4g} ms"


def _sizes(out: Console, run: Report) -> None:
    targets = {
        each["cost"]: target(each["asked"], each["bound"], each["dense"], met=each["met"])
        for each in run.budgets
    }
    rows = [
        _row("MACs", run.before.macs, run.after.macs, targets.get("macs", "")),
        _row("parameters", run.before.params, run.after.params, targets.get("params", "")),
        _row("weight bytes", run.before.weight_bytes, run.after.weight_bytes),
        _row("activation bytes", run.before.activation_bytes, run.after.activation_bytes),
    ]
    rows += [
        _row(COSTS[each["cost"]], each["dense"], each["reached"], targets[each["cost"]])
        for each in run.budgets
        if each["cost"] not in ("macs", "params")
    ]
    written = "model.pt2" if str(run.source.get("file")).endswith(".pt2") else "model.pt"
    if run.source and written in run.files:
        rows.append(
            _row(
                "file bytes",
                run.source["bytes"],
                run.files[written],
                f"{run.source['file']} -> {written}",
            )
        )
    if run.batchnorm:
        before, after = run.batchnorm["before"], run.batchnorm["after"]
        rows.append(["BatchNorm calls", str(before), str(after), "", "folded in the ONNX file"])
    table(out, [run.model, "before", "after", "change", ""], rows, right=(1, 2, 3))


def _widths(out: Console, groups: Sequence[tuple[str, int, int]]) -> None:
    table(
        out,
        ["group", "before", "after", "change"],
        [[name, str(before), str(after), change(before, after)] for name, before, after in groups],
        right=(1, 2, 3),
    )


def _held(
    out: Console, frozen: Sequence[Mapping[str, Any]], unknown: Sequence[Mapping[str, Any]]
) -> None:
    """Frozen channels, and operators without a rule."""
    if frozen:
        table(
            out,
            ["frozen channels", "of MACs", "why", "where", "axes"],
            [
                [
                    str(f["channels"]),
                    f"{f['macs_share']:.1%}",
                    f["reason"],
                    f["where"] or f["operator"],
                    _some(f["axes"]),
                ]
                for f in frozen
            ],
            right=(0, 1),
        )
    if unknown:
        table(
            out,
            ["no rule for", "where", "locks of MACs"],
            [[u["operator"], u["where"], f"{u['macs_share']:.1%}"] for u in unknown],
            right=(2,),
        )


def _checks(out: Console, run: Report) -> None:
    batches = " and ".join(map(str, sorted(set(run.oracle["batches"]))))
    rows = [_check("cut against masked original, float64", run.oracle)]
    rows[0][-1] += f", batches of {batches}"
    if run.eager["own_class"]:
        tolerance = run.oracle["tolerance"]
        rows.append(
            _check(
                f"{run.model} against cut program, float64", {**run.eager, "tolerance": tolerance}
            )
        )
    if run.onnx:
        rows.append(_check("onnxruntime against PyTorch", run.onnx))
        if "fp16_error" in run.onnx:
            rows.append(
                _check(
                    "float16 in onnxruntime against PyTorch",
                    {"max_error": run.onnx["fp16_error"], "tolerance": run.onnx["fp16_tolerance"]},
                )
            )
    table(out, ["check", "error", "tolerance", ""], rows, right=(1, 2))
    if not run.eager["own_class"]:
        line(out, "", f"the trainable model is a GraphModule: {run.eager['reason']}")


def _check(what: str, found: Mapping[str, Any]) -> list[str]:
    error, tolerance = found["max_error"], found["tolerance"]
    return [what, f"{error:.1e}", f"{tolerance:.0e}", "ok" if error <= tolerance else "WRONG"]


def _row(name: str, before: float, after: float, note: str = "") -> list[str]:
    return [name, amount(before), amount(after), change(before, after), note]


def _some(axes: Sequence[str]) -> str:
    more = f" and {len(axes) - _AXES_SHOWN} more" if len(axes) > _AXES_SHOWN else ""
    return ", ".join(axes[:_AXES_SHOWN]) + more
