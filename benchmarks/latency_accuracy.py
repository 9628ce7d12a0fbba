"""Measure what a latency budget costs in accuracy: ResNet-56 at equal latency, planned by time and by FLOPs.

    PYTHONPATH=. python benchmarks/latency_accuracy.py --data-dir ../shared/data

Both plans are made, repaired and measured alike: 1,024 images without labels, no training, accuracy on
all of ``val.zip`` (see ``accuracy.py``). The FLOPs budget is the largest whose plan takes, by the same
table, no longer than half of the dense network; the latency budget is that half. The three networks
run in turn in onnxruntime, batch 1, one thread. The table goes to stdout and to
``results/latency_accuracy.json``.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch read it

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import accuracy
import torch
from latency import BUDGET, flops_of_latency, serialised

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.export.ort_session import Runtime, Timed, feed, session
from graphprune.export.timing import Ratio, interleaved
from graphprune.models import cifar_resnet
from graphprune.passes import Allocate
from graphprune.passes.latency import Latency, ProfileLatency, workload
from graphprune.plan.budget import Budget
from graphprune.workflow.job import Job
from graphprune.workflow.options import Options

RESULTS = Path(__file__).resolve().parent / "results" / "latency_accuracy.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="images and checkpoints")
    parser.add_argument("--samples", type=int, default=1024, help="calibration images")
    parser.add_argument("--rounds", type=int, default=400, help="runs of each model")
    options = parser.parse_args()
    setting = accuracy.prepare("resnet56", options, seed=0)
    example = cifar_resnet.example_inputs()
    table = gp.profile(setting.model, example, how=ProfileLatency(rounds=10))
    how = Options(latency_table=table)
    job = Job.begin(setting.model, example, None, setting.data, options.samples, how, None)
    analysis = job.scored[Analysis]
    share, _ = flops_of_latency(
        lambda share: Allocate(budget=Budget.flops(share)).run(job.scored),
        Latency(workload(analysis), table),
        analysis.widths.tolist(),
    )
    results = {
        f"latency {BUDGET}": job.result(how.allocator(Budget.latency(BUDGET))),
        f"flops {share:.3f}": job.result(how.allocator(Budget.flops(share))),
    }
    runs = interleaved(
        [runner(setting.program), *(runner(r.program) for r in results.values())],
        rounds=options.rounds,
        warmup=10,
    )
    rows: list[dict[str, Any]] = [{"plan": "dense", "accuracy": setting.accuracy(setting.dense)}]
    for (name, result), seconds in zip(results.items(), runs[1:], strict=True):
        report = result.report
        rows.append({
            "plan": name,
            "accuracy": setting.accuracy(setting.outputs(result.program.module())),
            "flops": report.after.macs / report.before.macs,
            "error": report.recovery["after"],
            "ratio": asdict(Ratio.of(seconds, runs[0])),
            "least_ms": 1e3 * min(seconds),
        })
    rows[0]["least_ms"] = 1e3 * min(runs[0])
    RESULTS.write_text(
        json.dumps({"table_error": table.error, "rows": rows}, indent=1) + "\n", "utf-8"
    )
    print(RESULTS.read_text("utf-8"))


def runner(program: torch.export.ExportedProgram) -> Timed:
    """Open the program in onnxruntime."""
    of = session(serialised(program), Runtime(1))
    return Timed(of, feed(of))


if __name__ == "__main__":
    main()
