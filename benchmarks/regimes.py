"""Train a ResNet-20 at several temperatures, and find out which of the checkpoints prunes best.

    python benchmarks/regimes.py --data-dir ../shared/data
    python benchmarks/regimes.py --data-dir ../shared/data --only 0.1x128 --epochs 2 --results build/regimes.json

The three-regime model (Zhou et al., ICML 2023, arXiv 2305.18383) says that how well a checkpoint can be pruned depends on the
temperature of its training, here the learning rate over the batch size, and on how much of the network stays. Each
setting ``RATExBATCH`` is trained from the same random weights for as many epochs, by SGD with momentum, warm-up and a cosine. The
checkpoint is measured as it is, and then cut by ``gp.sweep``, with 1,024 training images and no labels, and without training.
One of the cuts is trained for an epoch afterwards, at the same rate for all.

What might tell beforehand which checkpoint loses least: the accuracy, the loss on 2,000 training images, how much that rises
when all weights are changed by Gaussian noise of a twentieth of their layer's root mean square (the mean of five draws), and
the distortion that the plan predicts. Rows of ``results/regimes.json`` are kept as soon as they are known, and what is there isn't measured
again; from them comes ``docs/which-checkpoint.md``.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional as F
from training_methods import EXAMPLE, Loop, Task, compressed

import graphprune as gp
from graphprune.models import cifar_resnet
from graphprune.models.digits import Split
from graphprune.models.train_images import MEAN, STD, load_zip

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "regimes.json"
PAGE = ROOT / "docs" / "which-checkpoint.md"

SETTINGS = (
    (0.01, 128), (0.03, 128), (0.1, 128), (0.3, 128), (1.0, 128), (0.1, 512), (0.1, 32),
)  # fmt: skip
"""Highest learning rates and batch sizes."""

BUDGETS = (0.7, 0.5, 0.35, 0.2)
TRAINED, AFTER = 0.35, 0.02
"""The cut that is trained for an epoch, and the highest learning rate of that."""

PROBED, DRAWS, NOISE = 2000, 5, 0.05
"""Training images that losses are measured on, draws of noise, and its size relative to a layer's weights."""

Row = dict[str, Any]


@torch.no_grad()
def loss(model: nn.Module, images: Split) -> float:
    return float(F.cross_entropy(model(images.images), images.labels))


@torch.no_grad()
def sharpness(model: nn.Module, images: Split) -> float:
    """Measure by how much the loss rises on average when weights are changed by noise."""
    drawn = torch.Generator().manual_seed(0)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    rises = []
    for _ in range(DRAWS):
        for weight in model.parameters():
            size = NOISE * weight.square().mean().sqrt()
            weight.add_(size * torch.randn(weight.shape, generator=drawn))
        rises.append(loss(model, images))
        model.load_state_dict(own)
    return sum(rises) / DRAWS - loss(model, images)


def measured(task: Task, archive: Path) -> Row:
    """Train a network, measure it, and cut it to each budget."""
    torch.manual_seed(task.seed)
    model = Loop.of(task, cifar_resnet.resnet20()).run().eval()
    shuffled = torch.randperm(len(task.train.labels), generator=torch.Generator().manual_seed(1))
    some = Split(task.train.images[shuffled[:PROBED]], task.train.labels[shuffled[:PROBED]])
    points = gp.sweep(
        model,
        EXAMPLE,
        BUDGETS,
        calibration=task.unlabelled,
        val=gp.images(archive / "val.zip", mean=MEAN, std=STD),
        any_width=True,
    )
    after = Task(task.train, task.val, 1, AFTER, task.seed)
    small = compressed(model, after, TRAINED).model
    return {
        "accuracy": task.accuracy(model),
        "loss": loss(model, some),
        "sharpness": sharpness(model, some),
        "distortion": {str(point.asked): point.distortion for point in points},
        "cut": {str(point.asked): point.accuracy for point in points},
        "trained": task.accuracy(Loop.of(after, small).run()),
    }


def page(rows: Sequence[Row]) -> str:
    """Write the page for the documentation."""
    budgets = [str(budget) for budget in BUDGETS]
    shares = " | ".join(f"{budget:.0%}" for budget in BUDGETS)
    lines = [
        "# Which checkpoint prunes best?",
        "",
        (
            "The [three-regime model](https://arxiv.org/abs/2305.18383) says that it depends on the temperature of the training, "
            "here the learning rate over the batch size, and on how much is to go."
        ),
        "",
        (
            f"`benchmarks/regimes.py` tests this on ResNet-20s for 32x32 images, each trained from the same random weights on 20,000 images for "
            f"{rows[0]['epochs']:g} epochs, with one seed, and writes this page; its first lines say how. Short trainings: low rates end too early in them, so rows of unlike dense accuracy say little, and all are far from what longer "
            "ones reach. Top-1 accuracy in % on 5,000 images; the standard error is 0.6 points, less between cuts of one network. Cuts "
            f"are refitted on 1,024 images without labels, and not trained; `{TRAINED:.0%}, trained` had one epoch with labels."
        ),
        "",
        f"| rate | batch | rate / batch, 1e-4 | dense | {shares} | {TRAINED:.0%}, trained | loss | rise by noise |",
        "| --- " * (7 + len(BUDGETS)) + "|",
    ]
    for row in sorted(rows, key=lambda row: row["rate"] / row["batch"]):
        cells = [
            f"{row['rate']:g}", f"{row['batch']}", f"{1e4 * row['rate'] / row['batch']:.2g}",
            f"{row['accuracy']:.1%}", *(f"{row['cut'][budget]:.1%}" for budget in budgets),
            f"{row['trained']:.1%}", f"{row['loss']:.3f}", f"{row['sharpness']:.3f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells).replace("%", "") + " |")
    lines += [
        "",
        f"Best dense: {_best(rows, lambda row: row['accuracy'])}. Best after the cut: "
        + "; ".join(
            f"{budget:.0%}: {_best(rows, lambda row, b=str(budget): row['cut'][b])}"
            for budget in BUDGETS
        )
        + ".",
        "",
        (
            "Spearman's rank correlation, over these networks, of what is known beforehand with the points that a cut loses, and with the "
            "accuracy that it ends with. Distortions are of whichever of several curves gave the best plan, so they hardly compare between networks:"
        ),
        "",
        f"| known beforehand | loss of points: {shares} | accuracy: {shares} |",
        "| --- | --- |" + " --- |" * (2 * len(BUDGETS) - 1),
    ]
    for name, known in KNOWN.items():
        lost = [_rank(rows, known, b, lambda r, b: r["accuracy"] - r["cut"][b]) for b in budgets]
        kept = [_rank(rows, known, b, lambda r, b: r["cut"][b]) for b in budgets]
        lines.append(f"| {name} | " + " | ".join([*lost, *kept]) + " |")
    return "\n".join(lines) + "\n"


KNOWN = {
    "temperature": lambda row, _: row["rate"] / row["batch"],
    "dense accuracy": lambda row, _: row["accuracy"],
    "training loss": lambda row, _: row["loss"],
    "rise by noise": lambda row, _: row["sharpness"],
    "predicted distortion": lambda row, budget: row["distortion"][budget],
}
"""What might tell how well a network is cut, of a row and a budget."""


def _best(rows: Sequence[Row], of: Any) -> str:
    row = max(rows, key=of)
    return f"rate {row['rate']:g}, batch {row['batch']}"


def _rank(rows: Sequence[Row], known: Any, budget: str, outcome: Any) -> str:
    pairs = [(known(row, budget), outcome(row, budget)) for row in rows]
    return f"{spearmanr(*zip(*pairs, strict=True)).statistic:+.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="images")
    parser.add_argument("--epochs", type=float, default=8, help="of each network")
    parser.add_argument("--only", nargs="*", metavar="RATExBATCH", help="these settings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="of torch")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the JSON file")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.threads:
        torch.set_num_threads(options.threads)
    archive = options.data_dir / "cifar10-jpeg"
    train, val = (load_zip(archive / name) for name in ("train.zip", "val.zip"))
    known = options.results.is_file()
    rows: dict[str, Row] = json.loads(options.results.read_text("utf-8")) if known else {}
    for rate, batch in SETTINGS:
        name = f"{rate:g}x{batch}"
        key = f"{name} | {options.epochs:g} | {options.seed}"
        if key in rows or (options.only and name not in options.only):
            continue
        task = Task(train, val, options.epochs, rate, options.seed, batch=batch)
        setting = {"rate": rate, "batch": batch, "epochs": options.epochs, "seed": options.seed}
        rows[key] = setting | measured(task, archive)
        options.results.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
        print(json.dumps(rows[key]), flush=True)
    if options.results == RESULTS:
        PAGE.write_text(page(list(rows.values())), encoding="utf-8")


if __name__ == "__main__":
    main()
