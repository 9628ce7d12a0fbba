"""Measure what the owner of a model can do with the smaller one: its class, a checkpoint, a training step, a file.

    python benchmarks/owner.py
    python benchmarks/owner.py --only 'transformers:*' --missing
    python benchmarks/owner.py --widths-only
    python benchmarks/owner.py --pretrained --only 'transformers:*'

Models come from ``owner_nets.py``: classifiers of the zoo, transformers from small configs, detectors and others, with
random weights whose channels differ by log-normal factors. Each is compressed to half of its FLOPs with the default
options, in a process of its own on one thread, with a limit on its CPU seconds. Processes are forked from one that has
imported the libraries and done nothing else. The table goes to stdout and to ``results/owner.csv``, one row per model;
rows that were not run stay, and so do columns: ``--own-only`` leaves out any widths. Its columns:

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
  outputs after a new process has loaded the written folder by ``from_pretrained``, and the share of FLOPs that was
  asked for, without and with cuts through the statistics of norms (``allow_inexact``); or why there is no such folder.
* ``error``: class, message and hint of what ended the run, ``stage``: where.
* ``state`` and ``state_pretrained``: digest of graphprune's source when the row, and that column, were measured.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch read it
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import csv
import hashlib
import importlib
import json
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import torch
from owner_nets import MODELS, make
from torch.utils import _pytree as pytree

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "owner.csv"
FLOPS = 0.5
LIBRARIES = {
    "transformers": "transformers",
    "timm": "timm",
    "ultralytics": "ultralytics",
    "smp": "segmentation_models_pytorch",
    "monai": "monai.networks.nets",
}
"""Kind of a model -> what builds it."""

COLUMNS: tuple[str, ...] = (
    "model", "own", "own_any", "flops", "whole", "groups", "cost", "seconds", "seconds_any", "loads", "step",
    "onnx", "pretrained", "stage", "error", "reason", "state", "state_pretrained",
)  # fmt: skip


def state() -> str:
    """Return a digest of graphprune's source."""
    digest = hashlib.sha256()
    for folder in ("graphprune", "passes"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def emit(**row: Any) -> None:
    """Hand a part of the row to the parent process."""
    print(json.dumps(row), flush=True)


def floats(outputs: Any) -> list[torch.Tensor]:
    """List the floating-point tensors of a model's outputs."""
    leaves = pytree.tree_leaves(outputs)
    return [x for x in leaves if isinstance(x, torch.Tensor) and x.is_floating_point()]


def run(name: str, folder: Path, *, own_only: bool, widths_only: bool) -> None:
    """Measure one model, and write what a new process loads."""
    import graphprune as gp

    torch.set_num_threads(1)
    emit(stage="build")
    model, args, kwargs = make(name)
    emit(stage="any widths")
    gp.inspect(model, args, example_kwargs=kwargs)  # the warm-up
    least = None
    if not own_only:
        start = time.process_time()
        free = gp.compress(model, args, example_kwargs=kwargs, flops=FLOPS, any_width=True).report
        least = free.allocation["distortion"]
        emit(
            seconds_any=round(time.process_time() - start, 1),
            own_any="y" if free.eager["own_class"] else "n",
        )
    emit(stage="compress")
    start = time.process_time()
    result = gp.compress(model, args, example_kwargs=kwargs, flops=FLOPS)
    report = result.report
    whole = [note for note in report.notes if note.startswith("left whole")]
    if least is not None:
        ours = report.allocation["distortion"]
        emit(cost=round(ours / least - 1, 4) if least else 0.0)
    emit(
        own="y" if report.eager["own_class"] else "n",
        reason=report.eager["reason"],
        flops=round(report.budget["reached"] / report.budget["dense"], 4),
        whole=whole[0].count(",") if whole else 0,
        groups=len(report.groups),
        seconds=round(time.process_time() - start, 1),
    )
    if widths_only:
        emit(stage="")
        return
    with torch.no_grad():
        expected = floats(result.model(*args, **kwargs))
    (folder / "plan.json").write_text(result.plan.to_json())
    torch.save(result.model.state_dict(), folder / "small.pt")  # noqa: TID251
    torch.save(expected, folder / "outputs.pt")  # noqa: TID251
    emit(stage="step")
    emit(step="y" if _step(model, result, args, kwargs) else "n")
    emit(stage="onnx")
    written = result.export_onnx(folder / "small.onnx")
    emit(stage="load", onnx=f"{written.report.onnx['max_error']:.1e}")


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
    emit(stage="", loads=f"{max(float((a - b).abs().max()) for a, b in pairs) / largest:.1e}")


def pretrained(name: str, folder: Path) -> None:
    """Write a folder of transformers, and load it in a new process; less is cut where no widths meet the budget."""
    import graphprune as gp
    from graphprune.errors import InfeasibleBudgetError

    model, args, kwargs = make(name)
    shares = (FLOPS, 0.75, 0.9)
    tries = [(flops, inexact) for flops in shares for inexact in (False, True)]
    for flops, inexact in [*tries, (1.0, True)]:
        try:
            result = gp.compress(
                model,
                args,
                example_kwargs=kwargs,
                flops=flops,
                keep_config=True,
                allow_inexact=inexact,
            )
            break
        except InfeasibleBudgetError:
            continue
    if flops == 1:
        assert result.config is not None
        emit(pretrained=f"nothing is cut: {next(iter(result.config.reasons.values()), '')}"[:160])
        return
    result.save_pretrained(folder / "hf")
    with torch.no_grad():
        expected = floats(result.model.eval()(*args, **kwargs))
    torch.save((kwargs, expected), folder / "outputs.pt")  # noqa: TID251
    emit(pretrained=f"not read at {flops}, inexact" if inexact else f"not read at {flops}")


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
    emit(pretrained=f"{max(float((a - b).abs().max()) for a, b in pairs) / largest:.1e}")


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


def preload(names: Sequence[str]) -> None:
    """Import what the models of some names need, so that no process has to do it again."""
    import zoo_nets

    zoo_nets.import_torchvision()
    for library in sorted({
        LIBRARIES[kind] for name in names if (kind := name.partition(":")[0]) in LIBRARIES
    }):
        importlib.import_module(library)
    for library in ("graphprune", "onnx", "onnxruntime", "onnxscript"):
        importlib.import_module(library)
    torch.export.export(torch.nn.Linear(1, 1), (torch.ones(1, 1),))  # imports more


def forked(work: Callable[[], None], seconds: int) -> tuple[dict[str, Any], str]:
    """Run something in a new process.

    Returns:
        The parts of the row that it hands over, and what ended it, ``""`` if nothing did.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
            code = 1
            try:
                work()
                code = 0
            except BaseException:  # noqa: BLE001 - the parent reads it
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
    row: dict[str, Any] = {}
    for line in texts[0].splitlines():
        if line.startswith("{"):
            row |= json.loads(line)
    if not status:
        return row, ""
    lines = texts[1].strip().splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith("  File ")]
    said = [line for line in lines[frames[-1] if frames else 0 :] if line and line[0] != " "]
    return row, ("; ".join(said) or f"exit {status}")[:400]


def measured(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Measure one model in processes of its own, and collect its row."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        if asked.pretrained:
            row, error = forked(partial(pretrained, name, folder), asked.seconds)
            if not error and (folder / "hf").exists():
                again, error = forked(partial(reload, name, folder), asked.seconds)
                how = row["pretrained"].removeprefix("not read")
                row["pretrained"] = f"{again.get('pretrained', error)}{how}"
            return {"pretrained": row.get("pretrained", error), "state_pretrained": state()}
        work = partial(run, name, folder, own_only=asked.own_only, widths_only=asked.widths_only)
        row, error = forked(work, asked.seconds)
        if (folder / "outputs.pt").exists():
            more, failure = forked(partial(load, name, folder), asked.seconds)
            row |= {key: value for key, value in more.items() if key != "stage" or not error}
            error = error or failure
    return {**row, "error": error, "state": state()}


def main() -> None:
    """Run the models that are asked for, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="*", help="pattern of names")
    parser.add_argument("--missing", action="store_true", help="those without a row")
    parser.add_argument("--widths-only", action="store_true", help="compress only")
    parser.add_argument("--pretrained", action="store_true", help="that column only")
    parser.add_argument("--own-only", action="store_true", help="leave out any widths")
    parser.add_argument("--seconds", type=int, default=400, help="CPU seconds per process")
    asked = parser.parse_args()
    rows: dict[str, dict[str, Any]] = {}
    if RESULTS.exists():
        with RESULTS.open(newline="") as file:
            rows = {row["model"]: row for row in csv.DictReader(file)}
    names = [
        name
        for name in MODELS
        if fnmatch(name, asked.only) and not (asked.missing and name in rows)
    ]
    preload(names)
    for name in names:
        rows[name] = {"model": name, **rows.get(name, {}), **measured(name, asked)}
        print(
            ", ".join(f"{key} {value}" for key, value in rows[name].items() if value != ""),
            flush=True,
        )
        with RESULTS.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows[each] for each in MODELS if each in rows)
    own = [row["own"] == "y" for row in rows.values() if row.get("own")]
    print(f"own class: {sum(own)} of {len(own)} compressed, {len(rows)} models")


if __name__ == "__main__":
    main()
