"""Compare methods of pruning while training, one-shot pruning with training after it, and Torch-Pruning.

    python benchmarks/training.py --data-dir ../shared/data
    python benchmarks/training.py --data-dir ../shared/data --epochs 2 --seeds 0 --only '*lasso*'

ResNet-20 for 32x32 images is brought to shares of its FLOPs, by the methods of ``training_methods.py``. All of them have the
same training images with labels, the same epochs in all, batches, learning rates (SGD with momentum,
warm-up and a cosine) and images changed in the same way, and are measured on all validation images. Layers compute in
bfloat16 while training, but for ``--float32``. ``seconds`` are CPU time, of each quarter of the training.

Rows are kept in ``results/training.json`` as soon as they are known; what is there is not measured again. From it
come ``docs/training-accuracy.md`` and, where matplotlib is installed, ``docs/img/training.png``.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import torch
from accuracy import cell
from training_methods import EXAMPLE, METHODS, SCRATCH, Method, Task
from zoo import macs

from graphprune.models import cifar_resnet
from graphprune.models.train_images import load_zip

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "training.json"
PAGE = ROOT / "docs" / "training-accuracy.md"
PLOT = ROOT / "docs" / "img" / "training.png"
BUDGETS = (0.5, 0.35)
SCRATCH_RATE = 0.1

Row = dict[str, Any]


def jobs(options: argparse.Namespace) -> Iterator[tuple[str, Method, float, int]]:
    """List what is to be measured: one seed after the other, and what starts from random weights last."""
    parts: tuple[Mapping[str, Method], ...] = (METHODS, SCRATCH) if options.scratch else (METHODS,)
    for methods, seed, budget in product(parts, options.seeds, options.budgets):
        chosen = [n for pattern in options.only for n in methods if fnmatch(n, pattern)]
        for name in dict.fromkeys(chosen):
            uncut = name in ("dense", "from scratch: dense")
            if not uncut or budget == options.budgets[0]:
                yield name, methods[name], 1.0 if uncut else budget, seed


def measure(options: argparse.Namespace, rows: dict[str, Row]) -> None:
    archive = options.data_dir / "cifar10-jpeg"
    train, val = (load_zip(archive / name) for name in ("train.zip", "val.zip"))
    weights = torch.load(  # noqa: TID251
        options.data_dir / "checkpoints" / "resnet20_cifar10jpeg.pt", weights_only=True
    )
    for name, method, budget, seed in jobs(options):
        key = f"{name} | {budget:g} | {options.epochs:g} | {seed}"
        if key in rows:
            continue
        if name.startswith("torch-pruning") and not find_spec("torch_pruning"):
            print(f"no {name}: pip install torch-pruning", file=sys.stderr)
            continue
        torch.manual_seed(seed)
        model = cifar_resnet.resnet20()
        dense = macs(model.eval(), EXAMPLE[0])
        rate = SCRATCH_RATE if name in SCRATCH else options.rate
        if name not in SCRATCH:
            model.load_state_dict(weights)
        task = Task(
            train,
            val,
            options.epochs,
            rate,
            seed,
            bfloat16=not options.float32,
            archive=archive / "train.zip",
        )
        outcome = method(model, task, budget)
        rows[key] = {
            "method": name,
            "flops_asked": budget,
            "epochs": options.epochs,
            "seed": seed,
            "flops": macs(outcome.model.eval(), EXAMPLE[0]) / dense,
            "accuracy": task.accuracy(outcome.model),
            "seconds": outcome.seconds,
            "rate": rate,
            "bfloat16": task.bfloat16,
            "train": len(train.labels),
            "val": len(val.labels),
        }
        options.results.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
        row = rows[key]
        print(
            f"{budget:4.0%} {name:36} seed {seed} {options.epochs:g} epochs  FLOPs {row['flops']:6.2%}  "
            f"accuracy {row['accuracy']:.2%}  {sum(row['seconds']):6.0f} s",
            flush=True,
        )


def page(rows: Sequence[Row]) -> str:
    """Write the page for the documentation."""
    first = rows[0]
    parts = [
        "# Accuracy by training",
        "",
        (
            f"ResNet-20 for 32x32 images, from the trained network unless said otherwise: top-1 accuracy in % on {first['val']:,} "
            f"validation images after training on {first['train']:,} images with labels, by share of the FLOPs. Every method has the "
            "same epochs in all. Several seeds: mean, and the range in brackets."
        ),
        "",
        "`benchmarks/training.py` measures these figures and writes this page; its first lines say how the training goes.",
        "",
        (
            "* Our methods plan by 1,024 of the images, without their labels, and `one-shot` and `gradual` also refit "
            "layers with them; `progressive` and `at-init` need none."
        ),
        "* `seconds`: CPU time of each quarter of the training, on one thread, at the first share; on busy machines it varies by a tenth.",
        "* `+ teacher`: nine tenths of the loss are the divergence from the outputs of the dense network, softened by 4.",
        "* `one command` is `graphprune compress --finetune`, with its own optimiser and batches of 32.",
        (
            "* Torch-Pruning plans by magnitude, and is told to leave the residual stream whole, since it fails on the "
            "padded shortcuts. `group-norm` and `growing-reg` press for half of the epochs."
        ),
    ]
    if PLOT.is_file():
        parts += ["", f"![Accuracy by method]({PLOT.relative_to(PAGE.parent).as_posix()})"]
    for epochs in sorted({row["epochs"] for row in rows}):
        these = [row for row in rows if row["epochs"] == epochs]
        parts += ["", f"## {epochs:g} epochs", "", *table(these)]
    return "\n".join(parts) + "\n"


def table(rows: Sequence[Row]) -> list[str]:
    budgets = sorted({row["flops_asked"] for row in rows if row["flops_asked"] < 1}, reverse=True)
    lines = [
        f"| method | {' | '.join(f'{budget:.0%}' for budget in budgets)} | seconds, {budgets[0]:.0%} |",
        "| --- |" + " --- |" * (len(budgets) + 1),
    ]
    names = dict.fromkeys([*METHODS, *SCRATCH])
    for name in (n for n in names if any(row["method"] == n for row in rows)):
        cells = [
            cell([
                row["accuracy"]
                for row in rows
                if row["method"] == name and row["flops_asked"] in (budget, 1.0)
            ])
            for budget in budgets
        ]
        cells.append(
            quarters([
                row["seconds"]
                for row in rows
                if row["method"] == name and row["flops_asked"] in (budgets[0], 1.0)
            ])
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def quarters(seconds: Sequence[Sequence[float]]) -> str:
    """Return the mean CPU seconds of each quarter of the training over seeds."""
    return ", ".join(f"{sum(each) / len(each):.0f}" for each in zip(*seconds, strict=True))


def plot(rows: Sequence[Row]) -> None:
    """Draw the means by method, one row of dots for each."""
    from matplotlib import pyplot

    most = max(row["epochs"] for row in rows)
    these = [row for row in rows if row["epochs"] == most and row["flops_asked"] < 1]
    names = [n for n in (*METHODS, *SCRATCH) if any(row["method"] == n for row in these)][::-1]
    figure, axes = pyplot.subplots(figsize=(8, 0.35 * len(names) + 1.2), layout="constrained")
    for budget, marker in zip(sorted({r["flops_asked"] for r in these}), "so^v", strict=False):
        points = [
            (100 * row["accuracy"], names.index(row["method"]))
            for row in these
            if row["flops_asked"] == budget
        ]
        axes.plot(*zip(*points, strict=True), marker, label=f"{budget:.0%} of the FLOPs")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(f"top-1 accuracy in %, {most:g} epochs")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(PLOT, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy of pruning while training.")
    parser.add_argument("--data-dir", type=Path, required=True, help="images and checkpoints")
    parser.add_argument("--epochs", type=float, default=8, help="of every method, in all")
    parser.add_argument("--budgets", nargs="+", type=float, default=list(BUDGETS), metavar="SHARE")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--rate", type=float, default=0.02, help="highest learning rate")
    parser.add_argument(
        "--only", nargs="+", default=["*"], metavar="PATTERN", help="methods to run, in this order"
    )
    parser.add_argument("--scratch", action="store_true", help="also from random weights")
    parser.add_argument("--float32", action="store_true", help="train without bfloat16")
    parser.add_argument("--threads", type=int, default=0, help="of torch")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the JSON file")
    parser.add_argument("--no-page", action="store_true", help="write no page and no plot")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.threads:
        torch.set_num_threads(options.threads)
    known = options.results.is_file()
    rows: dict[str, Row] = json.loads(options.results.read_text("utf-8")) if known else {}
    measure(options, rows)
    if options.no_page or not rows:
        return
    if find_spec("matplotlib"):
        plot(list(rows.values()))
    PAGE.write_text(page(list(rows.values())), encoding="utf-8")


if __name__ == "__main__":
    main()
