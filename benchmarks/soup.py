"""Average four networks that were cut by one plan and trained in four ways, and compare the average with its members.

    python benchmarks/soup.py --data-dir ../shared/data

ResNet-20 for 32x32 images is cut to shares of its FLOPs and repaired; from there each member is trained on the same images in
another order, with other changes of them, and in half of the soups with another learning rate. Statistics of BatchNorm are averaged too; ``estimated``
is the average with statistics of 1,024 images. ``greedy`` is the average of those members that
don't make it less accurate on half of the validation images; it is measured on the other half, beside the member
that is best on the first. A row of ``results/soup.json`` is one soup; what is there is not measured again.
"""

from __future__ import annotations

import argparse
import copy
import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from training_methods import Loop, Task, compressed

import graphprune as gp
from graphprune.models import cifar_resnet
from graphprune.models.digits import Split
from graphprune.models.train_images import load_zip

RESULTS = Path(__file__).resolve().parent / "results" / "soup.json"
RATES = {"order": (0.01, 0.01, 0.01, 0.01), "rate": (0.01, 0.02, 0.02, 0.04)}
"""Learning rates of the members, by what differs between them: the order of the images alone, or the rate too."""


def soup(
    model: torch.nn.Module, task: Task, budget: float, rates: Sequence[float]
) -> dict[str, Any]:
    """Train the members, and average them."""
    small = compressed(model, task, budget).model
    members: list[torch.nn.Module] = []
    for number, rate in enumerate(rates):
        own = replace(task, rate=rate, seed=task.seed + number)
        members.append(Loop.of(own, copy.deepcopy(small)).run().eval())
    mixed = gp.soup(members)
    estimated = gp.soup(members, calibration=task.unlabelled)
    judged, other = (replace(task, val=part) for part in halves(task.val))
    greedy = gp.soup(members, judge=judged.accuracy)
    return {
        "flops_asked": budget,
        "members": [task.accuracy(member) for member in members],
        "soup": task.accuracy(mixed),
        "estimated": task.accuracy(estimated),
        "greedy": other.accuracy(greedy),
        "best_of_greedy": other.accuracy(max(members, key=judged.accuracy)),
    }


def halves(images: Split) -> tuple[Split, Split]:
    """Split images and labels into two halves with all classes in each."""
    first, second = (Split(images.images[n::2], images.labels[n::2]) for n in (0, 1))
    return first, second


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy of averaged networks.")
    parser.add_argument("--data-dir", type=Path, required=True, help="images and checkpoints")
    parser.add_argument("--epochs", type=float, default=1, help="of each member")
    parser.add_argument("--budgets", nargs="+", type=float, default=[0.7, 0.5, 0.35])
    parser.add_argument("--differ", nargs="+", choices=RATES, default=list(RATES))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    archive = options.data_dir / "cifar10-jpeg"
    train, val = (load_zip(archive / name) for name in ("train.zip", "val.zip"))
    weights = torch.load(  # noqa: TID251
        options.data_dir / "checkpoints" / "resnet20_cifar10jpeg.pt", weights_only=True
    )
    rows: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    for differs, budget in product(options.differ, options.budgets):
        key = f"{differs} | {budget:g} | {options.epochs:g}"
        if key not in rows:
            model = cifar_resnet.resnet20()
            model.load_state_dict(weights)
            task = Task(train, val, options.epochs)
            rows[key] = {"differ": differs, **soup(model, task, budget, RATES[differs])}
            RESULTS.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
        row = rows[key]
        members = row["members"]
        print(
            f"{differs} {budget:4.0%} members {', '.join(f'{m:.2%}' for m in members)}: mean "
            f"{sum(members) / len(members):.2%}, best {max(members):.2%}, soup {row['soup']:.2%}, "
            f"with new statistics {row['estimated']:.2%}; "
            f"on half: best {row['best_of_greedy']:.2%}, greedy {row['greedy']:.2%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
