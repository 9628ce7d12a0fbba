"""Compare graphprune and Torch-Pruning on a list of published architectures.

    python benchmarks/zoo.py
    python benchmarks/zoo.py --only 'timm:*' --tools graphprune --onnx
    python benchmarks/zoo.py --onnx --missing

Models come from ``zoo_models.txt``, one per line: ``torchvision:NAME``, ``torchvision-seg:NAME``,
``torchvision-det:NAME``, ``timm:NAME``, ``hf:NAME``, ``ultralytics:NAME``, ``smp:NAME`` or ``monai:NAME``; ``zoo_nets.py`` builds them. Weights are
random and nothing is downloaded; BatchNorm gets random statistics, and every model runs on a batch
of 2. Each model and tool has a process of its own, on one thread and with a limit on its CPU
seconds, so a crash is a row of the table and not its end. All seconds are those of the process, without the time that others took the core.

graphprune is asked for half of the FLOPs; as ``graphprune-data`` it gets 16 random inputs as well, to
choose and repair by. They show that it can, not how well: random weights compute nothing. Torch-Pruning is asked to remove half of the channels, by
global group L2 magnitude, with the classifier left out. Neither tool is told anything about a model:
no ``num_heads``, no ``unwrapped_parameters``, no protected layers.

The table goes to stdout and to ``results/zoo.csv``, one row per model; rows of models, and columns of
tools, that were not run stay as they were, and ``--missing`` runs only what isn't there yet.
``zoo_table.py`` makes ``docs/zoo.md`` of it. Its columns:

* ``analysed``: ``y``, or the class of the error. ``unknown`` lists operators without a rule.
* ``export_s`` and ``analysis_s``: seconds of ``torch.export`` and of the analysis alone.
* ``prunable``: share of the parameters that lie in a group.
* ``flops_asked`` and ``flops_got``: shares of the dense FLOPs.
* ``oracle``: relative error against the masked original, in float64.
* ``back``: whether the user's class came back, and ``back_reason``, why not.
* ``onnx``: relative error of onnxruntime, with ``--onnx``.
* ``total_s`` and ``peak_mb``: of the whole process, with imports and building the model.
* ``class_back``: as ``back`` with ``keep_class``, ``class_flops``: as ``flops_got``. Worth a run where the class
  doesn't come back of itself: ``--tools graphprune-class``. ``class_s``: of that process.
* ``prunable_inexact``: ``prunable`` with ``allow_inexact``, that is through LayerNorm and
  GroupNorm too, as Torch-Pruning always does. ``inexact_s``: of that process.
* ``data_flops``: as ``flops_got``, with inputs; ``data_cut`` and ``data_error``: relative squared error of
  the outputs on inputs kept aside, right after the cut and at the end; ``data_refitted``: layers with new
  weights, of those looked at. ``data_s`` and ``data_peak_mb``: of that process.
* ``error`` and ``reason``: class and first line of what ended the run; ``stage``: where.
* ``tp_works``: ``y`` if the pruned model runs and its outputs have their old shapes, ``nothing pruned``
  if it is the model it was, else the class of the error. ``tp_reason`` is its first line.
* ``tp_macs``: share of the MACs left, counted by torch's ``FlopCounterMode``.
* ``tp_prunable``: share of the parameters whose shapes change when each group loses half of its
  channels (``global_pruning=False``, as a global ranking may leave a group whole).
* ``tp_s`` and ``tp_peak_mb``: as above.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch read it
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import copy
import csv
import json
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from torch import nn
from zoo_nets import build

HERE = Path(__file__).resolve().parent
MODELS = HERE / "zoo_models.txt"
RESULTS = HERE / "results"
FLOPS = 0.5
RATIO = 0.5
COLUMNS = {
    "graphprune": (
        "analysed", "nodes", "export_s", "analysis_s", "groups", "prunable", "flops_asked",
        "flops_got", "oracle", "back", "onnx", "total_s", "peak_mb", "unknown", "back_reason",
        "error", "stage", "reason",
    ),
    "graphprune-class": ("class_back", "class_flops", "class_s", "class_stage", "class_reason"),
    "graphprune-inexact": ("prunable_inexact", "inexact_s", "inexact_stage", "inexact_reason"),
    "graphprune-data": (
        "data_flops", "data_cut", "data_error", "data_refitted", "data_s", "data_peak_mb", "data_stage",
        "data_reason",
    ),
    "torch-pruning": (
        "tp_works", "tp_macs", "tp_prunable", "tp_s", "tp_peak_mb", "tp_stage", "tp_reason",
    ),
}  # fmt: skip
_SECONDS = {
    "graphprune": "total_s",
    "graphprune-class": "class_s",
    "graphprune-inexact": "inexact_s",
    "graphprune-data": "data_s",
    "torch-pruning": "tp_s",
}
_SHOWN = {
    "model": 46, "analysed": 20, "nodes": 6, "export_s": 9, "analysis_s": 11, "prunable": 9,
    "flops_got": 10, "oracle": 9, "back": 12, "onnx": 9, "total_s": 8, "peak_mb": 8,
    "data_flops": 11, "data_cut": 9, "data_error": 11, "data_refitted": 14, "data_s": 8, "data_peak_mb": 13,
    "tp_works": 20, "tp_macs": 8, "tp_prunable": 12, "tp_s": 7,
}  # fmt: skip
"""Columns of the printed table and their widths."""

_KIBI = 2**20 if sys.platform == "darwin" else 2**10
"""Units of ``ru_maxrss`` in a MiB."""

_MARK = "zoo-record "
"""Start of each line that a worker prints for the table; libraries print to stdout too."""

# In a worker -------------------------------------------------------------------------------------


def emit(**fields: Any) -> None:
    """Send fields of the row to the parent as soon as they are known."""
    spent = {"peak_mb": peak_mb(), "total_s": round(time.process_time(), 1)}
    print(_MARK + json.dumps(fields | spent), flush=True)


def peak_mb() -> int:
    """Return the most memory that this process has held, in MiB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KIBI)


def run_graphprune(name: str, *, onnx: bool) -> None:
    from graphprune import compress
    from graphprune.analysis.analyse import analyse
    from graphprune.analysis.frozen import unknown_operators
    from graphprune.cut.cut import Cut
    from graphprune.ir.trace import trace
    from graphprune.rebuild.rebuild import rebuild
    from graphprune.report.inspection import describe

    emit(stage="build", flops_asked=FLOPS)
    model, inputs = build(name)
    emit(stage="export")
    start = time.process_time()
    program = trace(model, (inputs,))
    emit(stage="analysis", export_s=round(time.process_time() - start, 2))
    start = time.process_time()
    analysis = analyse(program)
    seconds = time.process_time() - start
    unknown = sorted({str(node.target) for node in unknown_operators(analysis)})
    emit(
        stage="compress",
        analysed="y",
        nodes=len(analysis.nodes),
        analysis_s=round(seconds, 3),
        groups=len(analysis.groups),
        unknown=" ".join(unknown),
        prunable=round(describe(analysis, name).prunable_params, 4),
    )
    result = compress(program, flops=FLOPS)
    budget, oracle = result.report.budget, result.report.oracle
    emit(
        stage="rebuild",
        flops_got=round(budget["reached"] / budget["dense"], 5),
        oracle=f"{oracle['max_error']:.1e}",
    )
    rebuilt = rebuild(model, Cut.from_plan(result.plan, analysis), result.program)
    emit(
        stage="onnx" if onnx else "",
        back="own class" if rebuilt.own_class else "GraphModule",
        back_reason=rebuilt.reason,
    )
    if onnx:
        checked = result.export_onnx(os.devnull)
        emit(stage="", onnx=f"{checked.report.onnx['max_error']:.1e}")


def run_class(name: str, *, onnx: bool) -> None:
    from graphprune import compress

    emit(stage="build")
    model, inputs = build(name)
    emit(stage="compress")
    report = compress(model, (inputs,), flops=FLOPS, keep_class=True).report
    emit(
        stage="",
        class_back="own class" if report.eager["own_class"] else "GraphModule",
        class_flops=round(report.budget["reached"] / report.budget["dense"], 5),
    )


def run_inexact(name: str, *, onnx: bool) -> None:
    from graphprune import inspect
    from graphprune.report.inspection import describe

    emit(stage="build")
    model, inputs = build(name)
    emit(stage="analysis")
    analysis = inspect(model, (inputs,), allow_inexact=True)
    emit(stage="", prunable_inexact=round(describe(analysis, name).prunable_params, 4))


def run_data(name: str, *, onnx: bool) -> None:
    from graphprune import compress

    emit(stage="build")
    model, inputs = build(name)
    emit(stage="compress")
    result = compress(model, (inputs,), flops=FLOPS, calibration=[alike(inputs) for _ in range(8)])
    budget, found = result.report.budget, result.report.recovery
    emit(
        stage="",
        data_flops=round(budget["reached"] / budget["dense"], 5),
        data_cut=f"{found['before']:.1e}",
        data_error=f"{found['after']:.1e}",
        data_refitted=f"{found['refitted']} of {found['layers']}",
    )


def alike(inputs: torch.Tensor) -> torch.Tensor:
    """Make other inputs: normal ones, or the same tokens in another order."""
    if inputs.is_floating_point():
        return torch.randn(inputs.shape)
    return inputs.flatten()[torch.randperm(inputs.numel())].reshape(inputs.shape)


def run_torch_pruning(name: str, *, onnx: bool) -> None:
    emit(stage="build")
    model, inputs = build(name)
    emit(stage="count")
    before = outputs(model, inputs)
    dense = macs(model, inputs)
    emit(stage="prune")
    small = torch_pruned(model, inputs, everywhere=True)
    emit(stage="run")
    after = outputs(small, inputs)
    emit(stage="check", tp_macs=round(macs(small, inputs) / dense, 4))
    if (was := shapes(before)) != (now := shapes(after)):
        raise ValueError(f"outputs of shape {was} have become {now}")
    emit(stage="share", tp_works="y" if changed(model, small) else "nothing pruned")
    small = torch_pruned(model, inputs, everywhere=False)
    emit(stage="", tp_prunable=round(changed(model, small), 4))


def torch_pruned(model: nn.Module, inputs: torch.Tensor, *, everywhere: bool) -> nn.Module:
    """Prune a copy with Torch-Pruning. ``everywhere``: channels of all groups compete with each other."""
    import torch_pruning

    small = copy.deepcopy(model)
    pruner = torch_pruning.pruner.MetaPruner(
        small, inputs, importance=torch_pruning.importance.MagnitudeImportance(p=2),
        global_pruning=everywhere, pruning_ratio=RATIO,
        ignored_layers=classifiers(small, outputs(small, inputs)),
    )  # fmt: skip
    pruner.step()
    return small


def outputs(model: nn.Module, inputs: torch.Tensor) -> list[torch.Tensor]:
    from torch.utils import _pytree as pytree

    with torch.no_grad():
        leaves = pytree.tree_leaves(model(inputs))
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def shapes(tensors: Sequence[torch.Tensor]) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in tensors]


def classifiers(model: nn.Module, results: Sequence[torch.Tensor]) -> list[nn.Module]:
    """List layers as wide as there are classes (or words): the last axis, of images the second."""
    widths = {result.shape[1 if result.ndim == 4 else -1] for result in results}
    return [
        layer for layer in model.modules()
        if (isinstance(layer, nn.Linear) and layer.out_features in widths)
        or (isinstance(layer, nn.Conv2d) and layer.out_channels in widths)
    ]  # fmt: skip


def macs(model: nn.Module, inputs: torch.Tensor) -> float:
    """Count the multiply-accumulates of one call. Fused attention is taken apart, to be counted."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    torch.backends.mha.set_fastpath_enabled(value=False)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        outputs(model, inputs)
    return counter.get_total_flops() / 2


def changed(model: nn.Module, small: nn.Module) -> float:
    """Compute the share of the parameters in tensors whose shape has changed."""
    dense = dict(model.named_parameters())
    now = {name: parameter.shape for name, parameter in small.named_parameters()}
    total = sum(parameter.numel() for parameter in dense.values())
    return sum(p.numel() for name, p in dense.items() if now.get(name) != p.shape) / total


_WORKERS = {
    "graphprune": run_graphprune,
    "graphprune-class": run_class,
    "graphprune-inexact": run_inexact,
    "graphprune-data": run_data,
    "torch-pruning": run_torch_pruning,
}


# In the parent -----------------------------------------------------------------------------------


def measure(name: str, tool: str, limit: int, *, onnx: bool) -> dict[str, Any]:
    """Measure one model with one tool in one process: the tool's columns of the row."""
    command = [sys.executable, __file__, "--worker", name, "--tools", tool, "--limit", str(limit)]
    done = subprocess.run(command + ["--onnx"] * onnx, capture_output=True, check=False)
    error, reason = failure(done.returncode, done.stderr.decode())
    found: dict[str, Any] = {"total_s": limit}
    for line in done.stdout.decode(errors="replace").splitlines():
        if line.startswith(_MARK):
            found |= json.loads(line.removeprefix(_MARK))
    if error == signal.SIGXCPU.name:
        error, reason, found["total_s"] = "timeout", f"over {limit} s", limit
    if tool == "graphprune":
        found |= {"error": error, "reason": reason}
        found.setdefault("analysed", error)
    else:
        prefix = _SECONDS[tool].removesuffix("s")
        found |= {
            f"{prefix}s": found["total_s"],
            f"{prefix}stage": found.get("stage", ""),
            f"{prefix}reason": f"{error}: {reason}" if error else "",
            f"{prefix}peak_mb": found.get("peak_mb", ""),
        }
    if tool == "torch-pruning":
        found.setdefault("tp_works", error)
    return {column: found.get(column, "") for column in COLUMNS[tool]}


def failure(code: int, log: str) -> tuple[str, str]:
    """Return class and first line of the error that ended a process."""
    if code == 0:
        return "", ""
    if code < 0:
        return signal.Signals(-code).name, "killed"
    lines = log.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("Traceback (most recent")]
    if not starts:
        return f"exit {code}", lines[-1] if lines else ""
    last = next((line for line in lines[starts[-1] + 1 :] if not line.startswith(" ")), "")
    error, _, reason = last.partition(": ")
    return error.rpartition(".")[2], reason


def select(models: Sequence[str], patterns: Sequence[str]) -> list[str]:
    return [name for name in models if any(fnmatch(name, pattern) for pattern in patterns)]


def read(path: Path) -> dict[str, dict[str, str]]:
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["model"]: row for row in csv.DictReader(file)}


def write(path: Path, models: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the rows in the order of the list of models, whole after each model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = ("model", *(column for tool in COLUMNS.values() for column in tool))
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(
            file, columns, lineterminator="\n", restval="", extrasaction="ignore"
        )
        table.writeheader()
        table.writerows(rows[name] for name in models if name in rows)


def show(row: Mapping[str, Any]) -> None:
    cells = [str(row.get(column, ""))[: width - 1].ljust(width) for column, width in _SHOWN.items()]
    print("".join(cells).rstrip())
    if row.get("error"):
        print(f"    graphprune, {row['stage']}: {row['error']}: {row['reason']}")
    if row.get("unknown"):
        print(f"    graphprune, no rule: {row['unknown']}")
    if row.get("back_reason"):
        print(f"    graphprune, GraphModule: {row['back_reason']}")
    if row.get("data_reason"):
        print(f"    graphprune with data, {row['data_stage']}: {row['data_reason']}")
    if row.get("tp_reason"):
        print(f"    Torch-Pruning, {row['tp_stage']}: {row['tp_reason']}")
    sys.stdout.flush()


def summarise(rows: Sequence[Mapping[str, Any]], tools: Sequence[str]) -> None:
    def count(column: str, wanted: str) -> int:
        return sum(str(row.get(column)) == wanted for row in rows)

    if "graphprune" in tools:
        reached = sum(bool(row.get("flops_got")) for row in rows)
        print(
            f"graphprune: {count('analysed', 'y')} of {len(rows)} analysed, {reached} at the "
            f"budget, {count('back', 'own class')} with their own class"
        )
    if "graphprune-data" in tools:
        done = sum(bool(row.get("data_error")) for row in rows)
        print(f"graphprune with inputs: {done} of {len(rows)} done")
    if "torch-pruning" in tools:
        print(f"Torch-Pruning: {count('tp_works', 'y')} of {len(rows)} work")


def main() -> None:
    parser = argparse.ArgumentParser(description="Run two tools over a list of models.")
    parser.add_argument(
        "--only",
        nargs="+",
        default=["*"],
        metavar="PATTERN",
        help="models to run, such as 'timm:*'",
    )
    parser.add_argument("--tools", nargs="+", choices=COLUMNS, default=list(COLUMNS))
    parser.add_argument(
        "--limit", type=int, default=240, metavar="S", help="CPU seconds for one model and tool"
    )
    parser.add_argument("--onnx", action="store_true", help="also write ONNX and run it")
    parser.add_argument("--missing", action="store_true", help="only what has no row yet")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to")
    parser.add_argument("--worker", metavar="MODEL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        resource.setrlimit(resource.RLIMIT_CPU, (options.limit, options.limit + 1))
        _WORKERS[options.tools[0]](options.worker, onnx=options.onnx)
        return
    models = MODELS.read_text(encoding="utf-8").split()
    chosen, path = select(models, options.only), options.results / "zoo.csv"
    rows: dict[str, dict[str, Any]] = dict(read(path))
    show({column: column for column in _SHOWN})
    for name in chosen:
        row: dict[str, Any] = {**rows.get(name, {}), "model": name}
        fresh: dict[str, Any] = {"model": name}
        todo = [tool for tool in options.tools if not (options.missing and row.get(_SECONDS[tool]))]
        for tool in todo:
            fresh |= measure(name, tool, options.limit, onnx=options.onnx)
        rows[name] = row | fresh
        if todo:
            show(fresh)
            write(path, models, rows)
    summarise([rows[name] for name in chosen], options.tools)


if __name__ == "__main__":
    main()
