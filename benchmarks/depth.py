"""Compare plans that may remove whole branches with plans of widths alone, at small budgets, without training.

    python benchmarks/depth.py --data-dir ../shared/data
    python benchmarks/depth.py --data-dir ../shared/data --budgets 0.15 --seeds 0
    python benchmarks/depth.py --data-dir ../shared/data --models vit --trained DIR --budgets 0.35 --latency --seeds 0

ResNet-56 on CIFAR-10, or a network that ``python -m graphprune.models.train_images`` trained, with 1,024 unlabelled
calibration images, as in ``accuracy.py``: any widths, one scoring for all budgets of a draw. Plans with whole branches are chosen as by ``depth=True``: those that keep all branches are
among the candidates. Latencies are those of onnxruntime's default threads, batch 1, and of the fastest tenth of the runs; the table of times is measured once,
and corrected for each budget as ``compress`` does. A row counts the groups that went whole, and its time is CPU time of
choosing, cutting and repairing. Rows are kept in ``results/depth.json`` as soon as they are known; what is there is not measured
again without ``--force``. The table in ``docs/depth.md``, between its two comments, is written from them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from accuracy import MODELS, Row, Setting, cell, prepare, save
from latency import serialised
from torch.export import ExportedProgram
from zoo import macs

import graphprune as gp
from graphprune.export.ort_session import Runtime, Timed, feed, session
from graphprune.export.timing import fastest, interleaved
from graphprune.models import cifar_resnet
from graphprune.passes import Decision
from graphprune.passes.latency import ProfileLatency
from graphprune.passes.tune_latency import SettleLatency, TuneLatency
from graphprune.plan.budget import Budget
from graphprune.plan.latency_table import LatencyTable
from graphprune.workflow.job import Job
from graphprune.workflow.options import Options

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "depth.json"
PAGE = ROOT / "docs" / "depth.md"
BEGIN, END = "<!-- benchmarks/depth.py: begin -->", "<!-- benchmarks/depth.py: end -->"
BUDGETS = (0.35, 0.25, 0.15)
SEEDS = (0, 1, 2)
NAMES = {"flops": "the FLOPs", "latency": "the latency"}
LATENCY = (0.35,)
WAYS = ("widths", "depth")
PROFILE = ProfileLatency(depth=True)
SIGNED = {"widths": "widths alone", "depth": "whole branches too"}


def run(options: argparse.Namespace, rows: dict[str, Row]) -> None:
    budgets = [("flops", share) for share in options.budgets]
    budgets += [("latency", share) for share in options.latency]
    for seed in options.seeds:
        for name in options.models:
            asked = [
                (cost, share, way, f"{name} | {cost} {share} | {way} | {seed}")
                for cost, share in budgets
                for way in options.ways
            ]
            if not options.force and all(key in rows for *_, key in asked):
                continue
            setting = prepare(name, options, seed)
            job = scored(setting)
            for cost, share, way, key in asked:
                if options.force or key not in rows:
                    rows[key] = {
                        "model": name, "way": way, "seed": seed, "cost": cost, "asked": share,
                        **measured(setting, job, cost, share, way, options),
                    }  # fmt: skip
                    save(rows, options.results)
                print(key, {k: v for k, v in rows[key].items() if k != "notes"}, flush=True)


def scored(setting: Setting) -> Job:
    """Score down to width 0. The curves of plans without depth are the same but for that point."""
    return Job.begin(
        setting.model, cifar_resnet.example_inputs(), None, setting.data, setting.data.samples,
        Options(any_width=True, depth=True), None,
    )  # fmt: skip


def measured(
    setting: Setting, job: Job, cost: str, share: float, way: str, options: argparse.Namespace
) -> Row:
    job = replace(job, options=replace(job.options, depth=way == "depth"))
    budget = Budget.flops(share) if cost == "flops" else Budget.latency(share)
    allocate = job.options.allocator(budget)
    start = time.process_time()
    if cost == "latency":
        known = job.scored.knowing(times(setting, options.tables))
        table = TuneLatency(allocate=allocate, profile=PROFILE).run(known)
        job = replace(
            job,
            options=replace(job.options, latency_table=table),
            scored=job.scored.knowing(table),
        )
    decided = job.decide(allocate)
    if cost == "latency":
        decided = decided.knowing(SettleLatency(allocate=allocate, profile=PROFILE).run(decided))
    done = job.cut(decided)
    seconds = time.process_time() - start
    plan = done[Decision].plan
    if options.plans is not None:
        options.plans.mkdir(parents=True, exist_ok=True)
        name = f"{setting.name}-{cost}-{share}-{way}-{setting.train.seed}.json"
        (options.plans / name).write_text(plan.to_json(), encoding="utf-8")
    module, example = done.program.module(), cifar_resnet.example_inputs()[0]
    outputs = setting.outputs(module)
    row = {
        "flops": round(macs(module, example) / macs(setting.model, example), 4),
        "accuracy": setting.accuracy(outputs),
        "dense": setting.accuracy(setting.dense),
        "error": round(setting.error(outputs), 5),
        "groups": len(plan.groups),
        "gone": len(plan.removed),
        "removed": list(plan.removed),
        "seconds": round(seconds, 1),
        "samples": setting.data.samples,
        "val": len(setting.val[1]),
        "notes": [*done[Decision].notes, done[Decision].origin],
    }
    if cost != "latency":
        return row
    return row | {"ratio": ratio(setting, done.program, options.rounds)}


def times(setting: Setting, folder: Path) -> LatencyTable:
    """Read the latency table of a network, or measure it."""
    path = folder / f"{setting.name}.json"
    if not path.is_file():
        table = gp.profile(setting.model, cifar_resnet.example_inputs(), how=PROFILE)
        path.write_text(table.to_json(), encoding="utf-8")
    return LatencyTable.from_json(path.read_text(encoding="utf-8"))


def ratio(setting: Setting, small: ExportedProgram, rounds: int) -> float:
    """Measure the time of a network over that of the dense one, in onnxruntime, of the fastest runs in turn."""
    of = [session(serialised(each), Runtime()) for each in (setting.program, small)]
    dense, less = interleaved([Timed(each, feed(each)) for each in of], rounds=rounds, warmup=10)
    return round(fastest(less) / fastest(dense), 4)


def table(rows: Sequence[Row]) -> list[str]:
    """Write the table: accuracy in %, mean and range over the draws, and how many groups went."""
    models = sorted({row["model"] for row in rows})
    lines: list[str] = []
    for model in models:
        own = [row for row in rows if row["model"] == model]
        budgets = sorted({(row["cost"], -row["asked"]) for row in own})
        draws = sorted({row["seed"] for row in own})
        lines += [
            *([""] if lines else []),
            (
                f"Top-1 of {model} on {own[0]['val']:,} images (dense {100 * own[0]['dense']:.2f}), in %, after the repair with {own[0]['samples']:,} unlabelled images; mean and range over "
                f"{len(draws)} draw(s) of them. In brackets: groups that went whole, of {own[0]['groups']}."
            ),
            "",
            f"| plan | {' | '.join(f'{-share:.0%} of {NAMES[cost]}' for cost, share in budgets)} |",
            "| --- |" + " --- |" * len(budgets),
        ]
        for way in WAYS:
            cells: list[str] = []
            for cost, share in budgets:
                these = [r for r in own if (r["way"], r["cost"], -r["asked"]) == (way, cost, share)]
                gone = sorted({r["gone"] for r in these})
                more = (
                    f" ({' to '.join(map(str, dict.fromkeys((gone[0], gone[-1]))))})"
                    if gone and gone[-1]
                    else ""
                )
                timed = [r["ratio"] for r in these if "ratio" in r]
                more += f", measured {np.mean(timed):.0%}" if timed else ""
                cells.append(cell([r["accuracy"] for r in these]) + more)
            lines.append(f"| {SIGNED[way]} | {' | '.join(cells)} |")
    return lines


def write(rows: Mapping[str, Row]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        return
    lines = "\n".join(table(list(rows.values())))
    PAGE.write_text(f"{before}{BEGIN}\n\n{lines}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["resnet56"])
    parser.add_argument("--budgets", nargs="*", type=float, default=BUDGETS)
    parser.add_argument(
        "--latency", nargs="*", type=float, default=LATENCY, help="budgets of latency"
    )
    parser.add_argument(
        "--tables", type=Path, default=RESULTS.parent / "latency", help="latency tables"
    )
    parser.add_argument("--rounds", type=int, default=40, help="how often each network is timed")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--trained", type=Path, help="checkpoints of other networks than ResNets")
    parser.add_argument("--plans", type=Path, help="a folder to keep the plans in")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--force", action="store_true")
    options = parser.parse_args()
    rows: dict[str, Row] = (
        json.loads(options.results.read_text("utf-8")) if options.results.is_file() else {}
    )
    run(options, rows)
    if rows and options.results == RESULTS:
        write(rows)


if __name__ == "__main__":
    main()
