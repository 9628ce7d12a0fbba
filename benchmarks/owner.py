"""Measure what the owner of a model can do with the smaller one: its class, a checkpoint, a training step, a file.

    python benchmarks/owner.py
    python benchmarks/owner.py --only 'transformers:*' --missing
    python benchmarks/owner.py --widths-only
    python benchmarks/owner.py --pretrained --only 'transformers:*'

Models come from ``owner_nets.py``: classifiers of the zoo, transformers from small configs, detectors and others, with
random weights whose channels differ by log-normal factors. Each is compressed to half of its FLOPs with the default
options, in a process of its own on one thread, with a limit on its CPU seconds. The table goes to stdout and to
``results/owner.csv``, one row per model; rows that were not run stay. Its columns:

* ``own``: ``y`` if the model's class came back, else ``n``; ``reason``: why not. ``own_any``: the same with any widths.
* ``flops``: share of the dense FLOPs that is left.
* ``whole``: groups that stay whole for the class's sake, of all; ``cost``: relative rise of the estimated loss over
  that of any widths.
* ``seconds`` and ``seconds_any``: CPU seconds of ``compress`` as it is, and with any widths. The first is after a
  warm-up, so that the imports of torch count in neither.
* ``loads``: relative difference of the outputs after a new process has cut the dense model by the plan and loaded
  the saved ``state_dict``.
* ``step``: ``y`` if a training step with the carried optimiser changes the weights and leaves them finite.
* ``onnx``: relative difference of onnxruntime from PyTorch.
* ``pretrained``: for models of transformers, cut to widths that their config can state: relative difference of the
  outputs after a new process has loaded the written folder by ``from_pretrained``; or why there is no such folder.
* ``error``: class and first line of what ended the run, ``stage``: where.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch read it
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from owner_nets import MODELS, make
from torch.utils import _pytree as pytree

RESULTS = Path(__file__).resolve().parent / "results" / "owner.csv"
FLOPS = 0.5
COLUMNS: tuple[str, ...] = (
    "model", "own", "own_any", "flops", "whole", "groups", "cost", "seconds", "seconds_any", "loads", "step",
    "onnx", "pretrained", "stage", "error", "reason",
)  # fmt: skip


def emit(**row: Any) -> None:
    """Hand a part of the row to the parent process."""
    print(json.dumps(row), flush=True)


def floats(outputs: Any) -> list[torch.Tensor]:
    """List the floating-point tensors of a model's outputs."""
    leaves = pytree.tree_leaves(outputs)
    return [x for x in leaves if isinstance(x, torch.Tensor) and x.is_floating_point()]


def run(name: str, *, widths_only: bool) -> None:
    """Measure one model."""
    import graphprune as gp

    torch.set_num_threads(1)
    emit(stage="build")
    model, args, kwargs = make(name)
    emit(stage="any widths")
    gp.inspect(model, args, example_kwargs=kwargs)  # the warm-up
    start = time.process_time()
    free = gp.compress(model, args, example_kwargs=kwargs, flops=FLOPS, any_width=True)
    emit(
        stage="compress",
        seconds_any=round(time.process_time() - start, 1),
        own_any="y" if free.report.eager["own_class"] else "n",
    )
    start = time.process_time()
    result = gp.compress(model, args, example_kwargs=kwargs, flops=FLOPS)
    report = result.report
    least, ours = (each.allocation["distortion"] for each in (free.report, report))
    whole = [note for note in report.notes if note.startswith("left whole")]
    emit(
        stage="load",
        own="y" if report.eager["own_class"] else "n",
        reason=report.eager["reason"],
        flops=round(report.budget["reached"] / report.budget["dense"], 4),
        whole=whole[0].count(",") if whole else 0,
        groups=len(report.groups),
        cost=round(ours / least - 1, 4) if least else 0.0,
        seconds=round(time.process_time() - start, 1),
    )
    if widths_only:
        emit(stage="")
        return
    with tempfile.TemporaryDirectory() as folder:
        emit(loads=_in_a_new_process(name, result, args, kwargs, Path(folder)))
        emit(stage="step")
        emit(step="y" if _step(model, result, args, kwargs) else "n")
        emit(stage="onnx")
        written = result.export_onnx(Path(folder) / "small.onnx")
        emit(stage="", onnx=f"{written.report.onnx['max_error']:.1e}")


def _in_a_new_process(name: str, result: Any, args: Any, kwargs: Any, folder: Path) -> str:
    with torch.no_grad():
        expected = floats(result.model(*args, **kwargs))
    (folder / "plan.json").write_text(result.plan.to_json())
    torch.save(result.model.state_dict(), folder / "small.pt")  # noqa: TID251
    torch.save(expected, folder / "outputs.pt")  # noqa: TID251
    command = [sys.executable, __file__, "--load", str(folder), name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip().splitlines()[-1] if not done.returncode else done.stderr[-200:]


def load(name: str, folder: Path) -> None:
    """Cut the dense model by a plan, load the smaller weights, and compare."""
    import graphprune as gp

    model, args, kwargs = make(name)
    plan = gp.Plan.from_json((folder / "plan.json").read_text())
    small = gp.apply(plan, model, args, example_kwargs=kwargs)
    small.load_state_dict(torch.load(folder / "small.pt"))  # noqa: TID251
    with torch.no_grad():
        got = floats(small.eval()(*args, **kwargs))
    expected = torch.load(folder / "outputs.pt")  # noqa: TID251
    largest = max(float(x.abs().max()) for x in expected)
    pairs = zip(got, expected, strict=True)
    print(f"{max(float((a - b).abs().max()) for a, b in pairs) / largest:.1e}")


def pretrained(name: str) -> None:
    """Write a folder of transformers, and load it in a new process; less is cut where no widths meet the budget."""
    import graphprune as gp
    from graphprune.errors import InfeasibleBudgetError

    model, args, kwargs = make(name)
    for flops in (FLOPS, 0.75, 1.0):
        try:
            result = gp.compress(model, args, example_kwargs=kwargs, flops=flops, keep_config=True)
            break
        except InfeasibleBudgetError:
            continue
    if flops == 1:
        assert result.config is not None
        emit(pretrained=f"nothing is cut: {next(iter(result.config.reasons.values()), '')}"[:160])
        return
    with tempfile.TemporaryDirectory() as folder:
        result.save_pretrained(Path(folder) / "hf")
        with torch.no_grad():
            expected = floats(result.model.eval()(*args, **kwargs))
        torch.save((kwargs, expected), Path(folder) / "outputs.pt")  # noqa: TID251
        command = [sys.executable, __file__, "--reload", folder, name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = done.stderr if done.returncode else done.stdout
        emit(pretrained=f"{said.strip().splitlines()[-1][:120]} at {flops}")


def reload(name: str, folder: Path) -> None:
    """Load a folder by ``from_pretrained``, and compare."""
    import zoo_nets
    from owner_nets import TRANSFORMERS

    zoo_nets.import_torchvision()
    import transformers

    kind = getattr(transformers, TRANSFORMERS[name.partition(":")[2]][0])
    kwargs, expected = torch.load(folder / "outputs.pt")  # noqa: TID251
    with torch.no_grad():
        got = floats(kind.from_pretrained(folder / "hf").eval()(**kwargs, return_dict=False))
    largest = max(float(x.abs().max()) for x in expected)
    pairs = list(zip(got, expected, strict=False))
    print(f"{max(float((a - b).abs().max()) for a, b in pairs) / largest:.1e}")


def _step(model: Any, result: Any, args: Any, kwargs: Any) -> bool:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    _descend(model, optimizer, args, kwargs)
    small = result.carry(optimizer)
    before = {name: p.detach().clone() for name, p in result.model.named_parameters()}
    _descend(result.model, small, args, kwargs)
    after = dict(result.model.named_parameters())
    finite = all(bool(p.isfinite().all()) for p in after.values())
    return finite and any(not torch.equal(before[name], p) for name, p in after.items())


def _descend(model: Any, optimizer: Any, args: Any, kwargs: Any) -> None:
    outputs = [x for x in floats(model(*args, **kwargs)) if x.requires_grad]
    # Random weights with unlike norms may make outputs whose squares overflow.
    loss = sum((x / x.detach().abs().max().clamp(min=1e-30)).square().mean() for x in outputs)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[union-attr]
    optimizer.step()


def child(name: str, options: Sequence[str], seconds: int) -> dict[str, Any]:
    """Run one model in a process of its own, and collect its row."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))  # noqa: E731
    command = [sys.executable, __file__, "--child", name, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)
    row: dict[str, Any] = {"model": name}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            row |= json.loads(line)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        frames = [number for number, line in enumerate(lines) if line.startswith("  File ")]
        said = [line for line in lines[frames[-1] if frames else 0 :] if line and line[0] != " "]
        row["error"] = (said[0] if said else f"exit {done.returncode}")[:160]
    return row


def main() -> None:
    """Run the models that are asked for, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="*", help="pattern of names")
    parser.add_argument("--missing", action="store_true", help="those without a row")
    parser.add_argument("--widths-only", action="store_true", help="compress only")
    parser.add_argument("--pretrained", action="store_true", help="that column only")
    parser.add_argument("--reload", nargs=2, default=(), help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=int, default=400, help="CPU seconds per model")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    parser.add_argument("--load", nargs=2, default=(), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child and asked.pretrained:
        pretrained(asked.child)
        return
    if asked.reload:
        reload(asked.reload[1], Path(asked.reload[0]))
        return
    if asked.child:
        run(asked.child, widths_only=asked.widths_only)
        return
    if asked.load:
        load(asked.load[1], Path(asked.load[0]))
        return
    rows: dict[str, dict[str, Any]] = {}
    if RESULTS.exists():
        with RESULTS.open(newline="") as file:
            rows = {row["model"]: row for row in csv.DictReader(file)}
    for name in MODELS:
        if not fnmatch(name, asked.only) or (asked.missing and name in rows):
            continue
        options = ["--widths-only"] * asked.widths_only + ["--pretrained"] * asked.pretrained
        before = rows.get(name, {}) if asked.pretrained else {}
        rows[name] = before | child(name, options, asked.seconds)
        print(", ".join(f"{key} {value}" for key, value in rows[name].items() if value != ""))
        with RESULTS.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows[each] for each in MODELS if each in rows)
    own = [row["own"] == "y" for row in rows.values() if row.get("own")]
    print(f"own class: {sum(own)} of {len(own)} compressed, {len(rows)} models")


if __name__ == "__main__":
    main()
