"""Compare the accuracy of graphprune and Torch-Pruning, without training and after the same short training.

    python benchmarks/accuracy.py --data-dir ../shared/data
    python benchmarks/accuracy.py --data-dir ../shared/data --budgets 0.5 --train-minutes 5
    python benchmarks/accuracy.py --data-dir ../shared/data --allocators

``--data-dir`` holds ``cifar10-jpeg/train.zip`` and ``val.zip`` (folders of classes) and
``checkpoints/resnet{20,56}_cifar10jpeg.pt``; the other networks of ``--models`` are those of
``--trained``. All methods see the same 1,024 images of ``train.zip``,
drawn by the seed, and are measured on all of ``val.zip``. graphprune sees no labels. Torch-Pruning's
``taylor`` and ``hessian`` do (see ``peers.py``), and each of its methods is measured as it comes and
with BatchNorm statistics re-estimated. The training is the same for both: distillation from the dense
network on those images or, with ``--train-samples``, on more of them, without labels. It also compares
values inside where it is known which channels stayed, which is so after graphprune's own cut.

With ``--allocators``: widths chosen by each allocator at equal FLOPs, everything else as by default,
for three draws of the images. ``global magnitude`` is how others prune globally: all channels compete by
magnitude, over their group's mean. ``random plans`` is the best of ``--draws`` random widths, each
repaired, by the error of the outputs on images kept aside: first on 256 images, the best five on all.

Rows are kept in ``results/accuracy.json`` as soon as they are known; what is there is not measured
again without ``--force``. From it come ``docs/accuracy.md`` and, where matplotlib is installed,
``docs/img/accuracy.png``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.cut.cut import Cut
from graphprune.data import Images, calibrate
from graphprune.data.calibration import Calibration, batched
from graphprune.ir.trace import trace
from graphprune.models import ALL, cifar_resnet, train_images
from graphprune.passes import (
    CRITERIA,
    Allocate,
    Decision,
    Distil,
    Effort,
    Scores,
    Teacher,
    make_plan,
)
from graphprune.passes.observe import Observations
from graphprune.passes.recover import Repaired, repair
from graphprune.passes.score import additive
from graphprune.passes.solver import ALLOCATORS
from graphprune.plan.budget import Budget
from graphprune.workflow.job import Job
from graphprune.workflow.options import Options

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "accuracy.json"
ONNX_RESULTS = ROOT / "benchmarks" / "results" / "onnx_pruning.json"
PAGE = ROOT / "docs" / "accuracy.md"
IMAGENET = ROOT / "benchmarks" / "results" / "imagenet.json"
TEXT = ROOT / "benchmarks" / "results" / "text.json"
PLOT = ROOT / "docs" / "img" / "accuracy.png"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MODELS: dict[str, Callable[[], nn.Module]] = {
    "resnet20": cifar_resnet.resnet20,
    "resnet56": cifar_resnet.resnet56,
    **{name: partial(ALL[name].build, **options) for name, options in train_images.OPTIONS.items()},
}
RESNETS = ("resnet20", "resnet56")
BUDGETS = (0.7, 0.5, 0.35)
SEEDS = (0, 1, 2)
BATCH = 500
OURS = "graphprune"
RANDOM = "random plans"

AUGMENT, FEW_IMAGES = ("flip", "crop"), ("mix",)
"""Changes of the images while training, and those on the few of the calibration alone; the same for
all methods."""

FEW, FINALISTS = 256, 5
"""Images that all random plans are repaired on, and how many of them are repaired on all images."""

_KEY = ("model", "method", "flops_asked", "minutes", "seed")


Network = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Setting:
    """A dense network and what is needed to compress and measure it.

    Attributes:
        name: key of ``MODELS``.
        model: the network.
        program: the same, traced.
        train: where calibration images come from.
        data: those that all methods see.
        labels: theirs, for methods that need them: ``[n]``.
        val: images and labels to measure on.
    """

    name: str
    model: nn.Module
    program: ExportedProgram
    train: Images
    data: Calibration
    labels: torch.Tensor
    val: tuple[torch.Tensor, torch.Tensor]

    @property
    def images(self) -> torch.Tensor:
        return torch.cat([batch[0] for batch in self.data.batches])

    def outputs(self, model: Network) -> torch.Tensor:
        """Compute a model's outputs on the validation images."""
        with torch.no_grad():
            return torch.cat([model(x) for x in self.val[0].split(BATCH)])

    @cached_property
    def dense(self) -> torch.Tensor:
        """The dense network's outputs on the validation images."""
        return self.outputs(self.model)

    def accuracy(self, outputs: torch.Tensor) -> float:
        return float((outputs.argmax(1) == self.val[1]).double().mean())

    def error(self, outputs: torch.Tensor) -> float:
        """Compute the squared difference to the dense outputs, over their variance."""
        wrong = (outputs.double() - self.dense.double()).square().mean()
        return float(wrong / self.dense.double().var(correction=0))


def prepare(name: str, options: argparse.Namespace, seed: int) -> Setting:
    folder, samples = options.data_dir, options.samples
    model = MODELS[name]()
    file = (
        folder / "checkpoints" / f"{name}_cifar10jpeg.pt"
        if name in RESNETS
        else options.trained / f"{name}.pt"
    )
    model.load_state_dict(torch.load(file, weights_only=True))  # noqa: TID251
    program = trace(model.eval(), cifar_resnet.example_inputs())
    train, val = (
        gp.images(folder / "cifar10-jpeg" / file, mean=MEAN, std=STD, seed=seed)
        for file in ("train.zip", "val.zip")
    )
    data = calibrate(train, program, samples)
    (measured,) = batched(val.labelled(program), sys.maxsize)
    return Setting(name, model, program, train, data, drawn_labels(train, samples), measured)


def drawn_labels(source: Images, samples: int) -> torch.Tensor:
    """Return the labels of the images that ``calibration`` draws; none of them is unreadable here."""
    labels = source.labels()
    names = sorted(labels)
    order = np.random.default_rng(source.seed).permutation(len(names))[:samples]
    return torch.tensor([labels[names[i]] for i in order])


# Methods -----------------------------------------------------------------------------------------

Row = dict[str, Any]

Methods = Iterator[tuple[str, Callable[[], ExportedProgram]]]
"""Name of a method -> what compresses with it. Nothing runs before it is called."""


def methods(setting: Setting, budget: float, options: argparse.Namespace) -> Methods:
    """List all methods, with the training that was asked for.

    BatchNorm trains on its stored statistics where they were just made right.
    """
    train = partial(trained, setting, options)
    if "graphprune" in options.tools:
        yield OURS, lambda: ours(setting, budget, options)
        yield (
            f"{OURS}, weights alone",
            lambda: train(
                gp.compress(
                    setting.model, cifar_resnet.example_inputs(), flops=budget, any_width=True
                ).program
            ),
        )
    if "torch-pruning" not in options.tools or not find_spec("torch_pruning"):
        return
    import peers

    for method in peers.METHODS:

        def raw(method: str = method) -> nn.Module:
            return peers.pruned(setting.model, setting.images, setting.labels, method, budget)

        yield f"torch-pruning {method}", lambda raw=raw: train(traced(raw()))
        yield (
            f"torch-pruning {method} + BN",
            lambda raw=raw: train(
                traced(peers.reestimate(raw(), setting.images)), batch_training=False
            ),
        )


def ours(setting: Setting, budget: float, options: argparse.Namespace) -> ExportedProgram:
    """Compress as ``gp.compress`` does; training may have more images than the refit."""
    job, facts = scored(setting, setting.data), ()
    if options.train_minutes:
        distil, facts = training(setting, options, batch_training=False)
        how = replace(job.options, distil=distil.effort, augment=distil.augment)
        job = replace(job, options=how)
    decided = job.decide(job.options.allocator(Budget.flops(budget)))
    return job.cut(decided.knowing(*facts)).program


def traced(model: nn.Module) -> ExportedProgram:
    return trace(model, cifar_resnet.example_inputs())


def trained(
    setting: Setting,
    options: argparse.Namespace,
    small: ExportedProgram,
    *,
    batch_training: bool = True,
) -> ExportedProgram:
    """Distil a compressed model, if training was asked for."""
    if not options.train_minutes:
        return small
    distil, facts = training(setting, options, batch_training=batch_training)
    start = gp.State(small).knowing(*facts)
    return gp.Pipeline((distil,), given=tuple(start.facts)).run(start).program


def training(
    setting: Setting, options: argparse.Namespace, *, batch_training: bool
) -> tuple[Distil, tuple[Teacher, Calibration]]:
    """The pass that trains, and what it needs to know."""
    more = options.train_samples
    data = calibrate(setting.train, setting.program, more) if more else setting.data
    distil = Distil(
        batch_training=batch_training,
        effort=Effort(seconds=60 * options.train_minutes),
        augment=AUGMENT if more else AUGMENT + FEW_IMAGES,
    )
    return distil, (Teacher(setting.program), data)


def allocations(setting: Setting, budget: float, seed: int, draws: int) -> Methods:
    job = scored(setting, setting.data)
    for name in sorted(ALLOCATORS):
        how = Options(allocate=name)
        yield (
            f"allocate {name}",
            lambda how=how: job.result(how.allocator(Budget.flops(budget))).program,
        )
    yield "allocate global magnitude", lambda: global_magnitude(job, budget)
    yield f"allocate {RANDOM} ({draws})", lambda: random_plans(setting, job, budget, seed, draws)


def scored(setting: Setting, data: Calibration) -> Job:
    options = Options(any_width=True)  # as Torch-Pruning, which knows nothing of classes
    inputs = cifar_resnet.example_inputs()
    return Job.begin(setting.model, inputs, None, data, data.samples, options, None)


def global_magnitude(job: Job, budget: float) -> ExportedProgram:
    """Cut at one threshold on squared norms over their group's mean, as Torch-Pruning does; then refit as we do."""
    found = CRITERIA["l2"](job.scored[Analysis])
    scores = additive({name: v / max(v.mean(), 1e-12) for name, v in found.values.items()})
    decision = Allocate(budget=Budget.flops(budget), method="global_threshold").run(
        job.scored.knowing(scores)
    )
    return job.cut(job.scored.knowing(decision)).program


def random_plans(
    setting: Setting, job: Job, budget: float, seed: int, draws: int
) -> ExportedProgram:
    """Find the best of some random plans at the budget, each refitted, by held-out output error.

    All are repaired on ``FEW`` images, the best ``FINALISTS`` of them on all.
    """
    few = scored(setting, calibrate(setting.train, setting.program, FEW))
    decision = Allocate(budget=Budget.flops(budget), method="uniform").run(job.scored)

    def repaired(on: Job, plan: gp.Plan) -> tuple[Decision, Repaired]:
        seen = on.scored[Observations]
        cut = Cut.keeping(seen.analysis, plan.keep)
        return replace(decision, plan=plan), repair(seen, cut)

    plans = [random_plan(job.scored, decision, budget, seed * draws + i) for i in range(draws)]
    ranked = sorted((repaired(few, plan) for plan in plans), key=lambda each: each[1].error)
    best = min(
        (repaired(job, each.plan) for each, _ in ranked[:FINALISTS]),
        key=lambda each: each[1].error,
    )
    return job.cut(job.scored.knowing(*best)).program


def random_plan(start: gp.State, decision: Decision, budget: float, seed: int) -> gp.Plan:
    """Draw a plan: channels in the criterion's order, at random densities scaled to the budget."""
    analysis, scores = start[Analysis], start[Scores]
    density = np.random.default_rng(seed).uniform(0.05, 1, len(analysis.groups))
    bound = decision.budgets[0].bound

    def widths(scale: float) -> list[int]:
        return [
            min(g.width, max(1, round(g.width * d * scale)))
            for g, d in zip(analysis.groups, density, strict=True)
        ]

    low, high = 0.0, 20.0  # the widest within the budget
    for _ in range(40):
        middle = (low + high) / 2
        fits = analysis.costs.macs.at(widths(middle)) <= bound
        low, high = (middle, high) if fits else (low, middle)
    chosen = widths(low)
    order = np.random.default_rng(seed).permutation(len(chosen)).tolist()
    grown = True
    while grown:  # what rounding left of the budget, a channel at a time
        grown = False
        for i in order:
            wider = [w + (j == i) for j, w in enumerate(chosen)]
            fits = wider[i] <= analysis.groups[i].width and analysis.costs.macs.at(wider) <= bound
            chosen, grown = (wider, True) if fits else (chosen, grown)
    keep = {g.id: scores.keep(g.id, w) for g, w in zip(analysis.groups, chosen, strict=True)}
    return make_plan(analysis, keep, {"macs": budget})


# Running -----------------------------------------------------------------------------------------


def measure(setting: Setting, make: Callable[[], ExportedProgram]) -> Row:
    from zoo import macs

    example = cifar_resnet.example_inputs()[0]
    start = time.perf_counter()
    small = make()
    seconds = time.perf_counter() - start
    module = small.module()
    outputs = setting.outputs(module)
    return {
        "flops": round(macs(module, example) / macs(setting.model, example), 4),
        "accuracy": setting.accuracy(outputs),
        "dense": setting.accuracy(setting.dense),
        "error": round(setting.error(outputs), 5),
        "seconds": round(seconds, 1),
        "threads": torch.get_num_threads(),
        "samples": setting.data.samples,
        "val": len(setting.val[1]),
    }


def run(options: argparse.Namespace, rows: dict[str, Row]) -> None:
    for seed in options.seeds or (SEEDS if options.allocators else SEEDS[:1]):
        for name in options.models:
            setting = prepare(name, options, seed)
            for budget in options.budgets:
                if options.allocators:
                    found = allocations(setting, budget, seed, options.draws)
                else:
                    found = methods(setting, budget, options)
                for method, make in found:
                    if not fnmatch(method, options.only):
                        continue
                    more = options.train_minutes and options.train_samples
                    named = f"{method}, on {more:,} images" if more else method
                    row: Row = dict(
                        zip(_KEY, (name, named, budget, options.train_minutes, seed), strict=True)
                    )
                    key = " | ".join(map(str, row.values()))
                    if options.force or key not in rows:
                        rows[key] = row | measure(setting, make)
                        save(rows, options.results)
                    show(rows[key])


def save(rows: Mapping[str, Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def show(row: Row) -> None:
    minutes = f"{row['minutes']:g} min" if row["minutes"] else ""
    print(
        f"{row['model']:9} {row['flops_asked']:5.0%} {row['method']:34} {minutes:7} seed {row['seed']}"
        f"  FLOPs {row['flops']:6.1%}  accuracy {row['accuracy']:7.2%}  {row['seconds']:7.1f} s",
        flush=True,
    )


# Showing -----------------------------------------------------------------------------------------


def imagenet() -> list[str]:
    """Write the section of the results of ``benchmarks/imagenet.py``, and the next heading; nothing without results."""
    if not IMAGENET.is_file():
        return []
    rows: dict[str, Any] = json.loads(IMAGENET.read_text("utf-8"))
    lines = [
        "## ImageNet",
        "",
        (
            "EfficientNet-Lite0 on 200 images of classes that no calibration image has; the standard error of an accuracy "
            "is about 2.5 points. 400 calibration images, no training and no labels. `benchmarks/imagenet.py` and "
            "`benchmarks/imagenet_peers.py` measure this; Torch-Pruning and onnxsim go by norms. The divergence is "
            "KL(dense, small) in nats, the error is relative to the variance of the dense outputs, and the time is CPU time."
        ),
        "",
        "| FLOPs | method | top-1, dense | top-1 | agreement | divergence | error | seconds | memory |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in sorted(rows.items(), key=lambda item: -item[1]["budget"]):
        shares = [f"{100 * row[key]:.1f}" for key in ("dense", "top1", "agreement")]
        spent = [f"{sum(row['seconds'].values()):.0f}"] if "seconds" in row else [""]
        spent += [f"{row['memory_mib']} MiB"] if "memory_mib" in row else [""]
        lines.append(
            f"| {100 * row['budget']:g}% | {name.rsplit(' ', 2)[0]} | {' | '.join(shares)} | {row['divergence']:.3f} | "
            f"{row['error']:.3f} | {' | '.join(spent)} |"
        )
    return [*lines, "", "## CIFAR-10", ""]


def page(rows: Sequence[Row]) -> str:
    """Write the page for the documentation."""
    compared = [row for row in rows if not row["method"].startswith("allocate ")]
    sizes = [
        " or ".join(f"{n:,}" for n in sorted({row[k] for row in rows})) for k in ("val", "samples")
    ]
    parts = ["# Accuracy after compression", "", *imagenet()]
    if PLOT.is_file():
        parts += [f"![Accuracy over FLOPs]({PLOT.relative_to(PAGE.parent).as_posix()})", ""]
    parts += [
        (
            f"Top-1 accuracy on {sizes[0]} validation images, in %, by share of the FLOPs, with {sizes[1]} "
            "calibration images."
        ),
        "",
        (
            f"`benchmarks/{Path(__file__).name}` measures these figures and writes this page; its first "
            "lines describe the methods. `benchmarks/plot_accuracy.py` draws the picture."
        ),
        "",
        "* `graphprune` uses the calibration images without labels, and any widths (`any_width`). `weights alone` uses none.",
        (
            "* Torch-Pruning's `taylor` and `hessian` use the labels. `+ BN`: BatchNorm statistics are "
            "re-estimated on the calibration images."
        ),
        "* Where there are several seeds, the mean is followed by the range.",
    ]
    for minutes in sorted({row["minutes"] for row in compared}):
        title = f"After {minutes:g} minutes of distillation" if minutes else "Without training"
        parts += ["", f"## {title}"]
        these = [row for row in compared if row["minutes"] == minutes]
        if minutes:
            threads = " or ".join(str(n) for n in sorted({row["threads"] for row in these}))
            parts += [
                "",
                (
                    f"PyTorch threads: {threads}. Every network is distilled from the dense one, on the calibration "
                    "images unless another number is given. After graphprune's own cut, intermediate values are compared as well."
                ),
            ]
        if own := [row for row in these if row["model"] in RESNETS]:
            parts += ["", *table(own)]
        if others := [row for row in these if row["model"] not in RESNETS]:
            parts += [
                "",
                "Networks trained before by `python -m graphprune.models.train_images`:",
                "",
                *table(others),
            ]
    if allocated := [row for row in rows if row["method"].startswith("allocate ")]:
        parts += [
            "",
            "## Allocators",
            "",
            (
                "Widths chosen by each allocator at equal FLOPs, everything else as by default; mean and range "
                "over seeds, no training. `random plans`: the best of 100 random plans, by held-out error. `global "
                "magnitude`: one threshold on squared norms over their group's mean."
            ),
            "",
            *table(allocated),
        ]
        if judged := [row for row in allocated if "error" in row]:
            parts += [
                "",
                (
                    "Squared error of the outputs on the validation images, relative to the variance of the "
                    "dense outputs, in %:"
                ),
                "",
                *table(judged, "error"),
            ]
    if TEXT.is_file():
        from text_table import text_section

        parts += ["", *text_section(json.loads(TEXT.read_text("utf-8")))]
    if ONNX_RESULTS.is_file():
        parts += ["", *onnx_section(json.loads(ONNX_RESULTS.read_text("utf-8"))["rows"])]
    return "\n".join(parts) + "\n"


def onnx_section(rows: Sequence[Row]) -> list[str]:
    """Write the section on what `onnx_pruning.py` measured."""
    lines = [
        "## onnxsim",
        "",
        (
            "`benchmarks/onnx_pruning.py`: half of the FLOPs, from ONNX file to ONNX file, without training, "
            "measured in onnxruntime. onnxsim's sparsity was bisected; its seconds are those of one call, "
            "graphprune's those of planning, refitting, verifying and exporting, on a shared machine. 0 is less than 0.05 s."
        ),
        "",
        "| network | method | FLOPs | top-1 (dense) | convolutions cut | seconds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['model']} | {row['method']} | {row['flops']:.1%} | {100 * row['accuracy']:.2f} "
        f"({100 * row['dense']:.2f}) | {row['convs_cut']} of {row['convs']} | {row['seconds']:g} |"
        for row in rows
        if "error" not in row
    ]
    return lines


def table(rows: Sequence[Row], figure: str = "accuracy") -> list[str]:
    columns = sorted(
        {(row["model"], row["flops_asked"]) for row in rows}, key=lambda c: (c[0], -c[1])
    )
    dense = {row["model"]: row["dense"] for row in rows}
    heads = [f"{model} {budget:.0%}" for model, budget in columns]
    lines = [f"| method | {' | '.join(heads)} |", "| --- |" + " --- |" * len(columns)]
    if figure == "accuracy":
        lines.append(
            f"| dense | {' | '.join(f'{100 * dense[model]:.2f}' for model, _ in columns)} |"
        )
    for method in dict.fromkeys(row["method"] for row in rows):
        cells = [
            cell([
                r[figure]
                for r in rows
                if r["method"] == method and (r["model"], r["flops_asked"]) == column
            ])
            for column in columns
        ]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean = f"{100 * sum(values) / len(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ({100 * min(values):.2f}-{100 * max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy after compression.")
    parser.add_argument("--data-dir", type=Path, required=True, help="images and checkpoints")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(RESNETS))
    parser.add_argument(
        "--trained",
        type=Path,
        metavar="FOLDER",
        help="NAME.pt of the other networks, as models/train_images.py writes them",
    )
    parser.add_argument("--budgets", nargs="+", type=float, default=list(BUDGETS), metavar="SHARE")
    parser.add_argument(
        "--tools",
        nargs="+",
        choices=("graphprune", "torch-pruning"),
        default=["graphprune", "torch-pruning"],
    )
    parser.add_argument(
        "--only", default="*", metavar="PATTERN", help="methods to run, such as '*random plans*'"
    )
    parser.add_argument("--samples", type=int, default=1024, help="calibration images")
    parser.add_argument(
        "--train-minutes",
        type=float,
        default=0.0,
        metavar="M",
        help="distil every result for so long",
    )
    parser.add_argument(
        "--train-samples",
        type=int,
        default=0,
        metavar="N",
        help="images to distil on, if not those of the calibration",
    )
    parser.add_argument("--allocators", action="store_true", help="compare allocators instead")
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        help=f"draws of the images; {SEEDS[0]}, and three of them for allocators",
    )
    parser.add_argument("--draws", type=int, default=100, help="random plans, each repaired")
    parser.add_argument("--threads", type=int, default=0, help="of torch")
    parser.add_argument("--force", action="store_true", help="measure again what is known")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the JSON file")
    parser.add_argument("--no-page", action="store_true", help="write no page and no plot")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.threads:
        torch.set_num_threads(options.threads)
    if "torch-pruning" in options.tools and not find_spec("torch_pruning"):
        print("torch-pruning is not installed: pip install torch-pruning", file=sys.stderr)
    known = options.results.is_file()
    rows: dict[str, Row] = json.loads(options.results.read_text("utf-8")) if known else {}
    run(options, rows)
    if options.no_page:
        return
    if find_spec("matplotlib"):
        from plot_accuracy import plot

        plot(list(rows.values()), PLOT)
    else:
        print("no plot: matplotlib is not installed", file=sys.stderr)
    PAGE.write_text(page(list(rows.values())), encoding="utf-8")


if __name__ == "__main__":
    main()
