"""Compare plans for latency with plans for FLOPs, measured in onnxruntime.

    PYTHONPATH=. python benchmarks/latency.py resnet50 mobilenet_v2 resnet34
    PYTHONPATH=. python benchmarks/latency.py resnet50 --plans 6 --rounds 10

Nets are torchvision's, with random weights and random BatchNorm statistics; scores are ``l2``, and
nothing is recovered: for speed the weights make no difference. For each net

* a latency table is made (``results/latency/NET.json``, used again if it is there),
* ``plans``: random plans are exported, and their predicted and measured times compared,
* ``race``: these run in turn, in one process: the dense net twice, ``--latency 0.5``, ``--flops 0.5``
  with and without ``--round-to auto``, both budgets at once, the FLOPs plan of the latency plan's
  measured time (by bisection on the table), and Torch-Pruning's cut to half of the FLOPs.

Every measured model is a row of ``results/latency.csv``; rows that are there are kept, so a run that was
killed goes on where it was. ``--fresh`` begins anew. Times are in milliseconds, batch 1.

Columns: ``net``, ``model``, ``flops`` and ``predicted`` (shares of the dense ones), ``distortion`` (predicted),
``predicted_ms``, ``least_ms`` (the fastest run), ``median_ms``, ``ratio`` (to the dense net, run by run),
``ratio_low`` and ``ratio_high`` (quartiles). A table predicts undisturbed runs, so it is compared with the
fastest: on a shared machine the median says more of the neighbours.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch read it

import argparse
import copy
import csv
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zoo
import zoo_nets
from torch import nn

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.errors import InfeasibleBudgetError
from graphprune.export.ort_session import Runtime, Timed, feed, session
from graphprune.export.timing import Ratio, Spread, interleaved
from graphprune.export.to_onnx import to_onnx
from graphprune.ir.program import input_names, output_names
from graphprune.ir.trace import trace
from graphprune.passes import CRITERIA, Allocate, Analyse, Decision, Score
from graphprune.passes.batchnorm.fold import fold_batchnorm
from graphprune.passes.latency import Latency, ProfileLatency, slim_onnx, workload
from graphprune.passes.latency.profiling import random_widths
from graphprune.plan.budget import Budget
from graphprune.plan.latency_table import LatencyTable

RESULTS = Path(__file__).resolve().parent / "results"
TABLE = RESULTS / "latency.csv"
PLOT = RESULTS.parent.parent / "docs" / "img" / "latency.png"
COLUMNS = (
    "net",
    "model",
    "flops",
    "predicted",
    "distortion",
    "predicted_ms",
    "least_ms",
    "median_ms",
    "ratio",
    "ratio_low",
    "ratio_high",
)
BUDGET = 0.5
STEPS = 8
"""Steps of bisection of Torch-Pruning's ratio, and of the FLOPs plan of a given time."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "nets", nargs="*", help="torchvision names: resnet50, mobilenet_v2, resnet34"
    )
    parser.add_argument("--only", choices=("plans", "race"), help="one of the two parts")
    parser.add_argument("--plans", type=int, default=30, help="random plans")
    parser.add_argument("--rounds", type=int, default=40, help="runs of each model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--fresh", action="store_true", help="measure all anew")
    options = parser.parse_args()
    for name in options.nets:
        net = Net(name, options)
        if options.only != "race":
            net.plans()
        if options.only != "plans":
            net.race()
    report(read())


class Net:
    """One network, its latency table, and what is measured of it."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.name, self.options = name, options
        self.runtime = Runtime(options.threads)
        model, example = zoo_nets.build(f"torchvision:{name}")
        self.model, self.example = model, example[:1]
        self.state = gp.Pipeline((Analyse(), Score(CRITERIA["l2"]))).run(
            trace(model, (self.example,))
        )
        self.analysis = self.state[Analysis]
        self.table = self._table()
        self.latency = Latency(workload(self.analysis), self.table)
        self.state = self.state.knowing(self.table)
        self.dense = self.analysis.widths.tolist()

    def plans(self) -> None:
        """Measure and predict the latency of random plans."""
        generator = np.random.default_rng(1)
        names = [f"random {number}" for number in range(self.options.plans)]
        if all(map(self._known, names)):
            return
        widths = [random_widths(self.analysis, generator) for _ in names]
        models = [slim_onnx(self.state.program, self.analysis, each) for each in widths]
        sessions = [session(model, self.runtime) for model in models]
        runs = interleaved([Timed(s, feed(s)) for s in sessions], rounds=self.options.rounds)
        for name, each, seconds in zip(names, widths, runs, strict=True):
            self._write(name, each, Spread.of(seconds))

    def race(self) -> None:
        """Time the plans of one budget against each other, in turn."""
        if self._known("torch-pruning"):
            return
        contenders = self._contenders()
        sessions = [session(model, self.runtime) for _, model, _ in contenders.values()]
        runs = interleaved(
            [Timed(s, feed(s)) for s in sessions], rounds=self.options.rounds, warmup=3
        )
        for (name, (widths, _, distortion)), seconds in zip(contenders.items(), runs, strict=True):
            self._write(name, widths, Spread.of(seconds), Ratio.of(seconds, runs[0]), distortion)

    def _contenders(self) -> dict[str, tuple[Sequence[int] | None, bytes, float | None]]:
        found: dict[str, tuple[Sequence[int] | None, bytes, float | None]] = {}
        whole = slim_onnx(self.state.program, self.analysis, self.dense)
        found["dense"] = found["dense again"] = self.dense, whole, 0.0
        wanted: dict[str, Callable[[], Decision]] = {
            "latency 0.5": lambda: self._decided(Budget.latency(BUDGET)),
            "flops 0.5": lambda: self._decided(Budget.flops(BUDGET)),
            "flops 0.5 round-to auto": lambda: self._decided(Budget.flops(BUDGET), round_to="auto"),
            "flops 0.5 latency 0.5": lambda: self._decided(
                Budget.flops(BUDGET), Budget.latency(BUDGET)
            ),
            "flops of equal latency": lambda: flops_of_latency(
                lambda share: self._decided(Budget.flops(share)), self.latency, self.dense
            )[1],
        }
        for name, decide in wanted.items():
            begun = time.perf_counter()
            decision = decide()
            widths = [len(group.keep) for group in decision.plan.groups]
            found[name] = (
                widths,
                slim_onnx(self.state.program, self.analysis, widths),
                (decision.allocation.distortion),
            )
            print(
                f"{self.name} {name}: decided and exported in {time.perf_counter() - begun:.0f} s",
                flush=True,
            )
        found["torch-pruning"] = None, torch_pruned(self.model, self.example), None
        return found

    def _decided(self, *budgets: Budget, **how: Any) -> Decision:
        return Allocate(budget=budgets, **how).run(self.state)

    def _table(self) -> LatencyTable:
        path = RESULTS / "latency" / f"{self.name}.json"
        if path.is_file() and not self.options.fresh:
            return LatencyTable.from_json(path.read_text("utf-8"))
        how = ProfileLatency(
            threads=self.options.threads,
            rounds=self.options.rounds // 4,
        )
        table = how.run(
            replace(self.state, progress=lambda text: print(self.name, text, flush=True))
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(table.to_json(), "utf-8")
        return table

    def _known(self, name: str) -> bool:
        rows = [] if self.options.fresh else read()
        return any(row["net"] == self.name and row["model"] == name for row in rows)

    def _write(
        self,
        name: str,
        widths: Sequence[int] | None,
        taken: Spread,
        ratio: Ratio | None = None,
        distortion: float | None = None,
    ) -> None:
        row = dict.fromkeys(COLUMNS, "") | {
            "net": self.name,
            "model": name,
            "least_ms": f"{1e3 * taken.least:.4f}",
            "median_ms": f"{1e3 * taken.median:.4f}",
        }
        if widths is not None:
            costs, dense = self.analysis.costs.macs, self.latency.at(self.dense)
            row |= {
                "flops": f"{costs.at(widths) / self.analysis.dense_macs:.4f}",
                "predicted": f"{self.latency.at(widths) / dense:.4f}",
                "predicted_ms": f"{1e3 * self.latency.at(widths):.4f}",
            }
        if ratio is not None:
            row |= {
                "ratio": f"{ratio.median:.4f}",
                "ratio_low": f"{ratio.low:.4f}",
                "ratio_high": f"{ratio.high:.4f}",
            }
        if distortion is not None:
            row["distortion"] = f"{distortion:.6g}"
        rows = [r for r in read() if (r["net"], r["model"]) != (self.name, name)]
        write([*rows, row])
        print(", ".join(f"{k} {v}" for k, v in row.items() if v), flush=True)


def torch_pruned(model: nn.Module, example: torch.Tensor) -> bytes:
    """Cut with Torch-Pruning to the budget, by bisection of its ratio, and export as ONNX."""
    import torch_pruning

    def pruned(ratio: float) -> nn.Module:
        small = copy.deepcopy(model)
        pruner = torch_pruning.pruner.MetaPruner(
            small, example, importance=torch_pruning.importance.MagnitudeImportance(p=2),
            global_pruning=True, pruning_ratio=ratio,
            ignored_layers=zoo.classifiers(small, zoo.outputs(small, example)),
        )  # fmt: skip
        pruner.step()
        return small

    dense = zoo.macs(model, example)
    low, high, best = 0.0, 1.0, None
    for _ in range(STEPS):
        ratio = (low + high) / 2
        small = pruned(ratio)
        if zoo.macs(small, example) <= BUDGET * dense:
            best, high = small, ratio
        else:
            low = ratio
    assert best is not None
    program = trace(best, (example,))
    return serialised(program)


def flops_of_latency(
    decide: Callable[[float], Decision], latency: Latency, dense: Sequence[int]
) -> tuple[float, Decision]:
    """Find the largest share of the FLOPs whose plan is predicted to meet the latency budget."""
    low, high = 0.0, 1.0
    best: tuple[float, Decision] | None = None
    for _ in range(STEPS):
        middle = (low + high) / 2
        try:
            found = decide(middle)
        except InfeasibleBudgetError:
            low = middle
            continue
        widths = [len(group.keep) for group in found.plan.groups]
        if latency.at(widths) <= BUDGET * latency.at(dense):
            best, low = (middle, found), middle
        else:
            high = middle
    if best is None:
        raise ValueError(f"no FLOPs plan takes {BUDGET:.0%} of the time")
    return best


def serialised(program: torch.export.ExportedProgram) -> bytes:
    """Export a program as an ONNX file, BatchNorm folded."""
    return to_onnx(
        fold_batchnorm(program),
        input_names=input_names(program),
        output_names=output_names(program),
    ).SerializeToString()


def read() -> list[dict[str, str]]:
    """Read the rows that are there."""
    if not TABLE.is_file():
        return []
    with TABLE.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(rows: Sequence[Mapping[str, str]]) -> None:
    """Write all rows in one step."""
    TABLE.parent.mkdir(exist_ok=True)
    partial = TABLE.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(TABLE)


def report(rows: Sequence[Mapping[str, str]]) -> None:
    """Describe what was measured, in a few lines for each network."""
    for net in dict.fromkeys(row["net"] for row in rows):
        own = {row["model"]: row for row in rows if row["net"] == net}
        print(f"\n{net}")
        for name, row in own.items():
            if row["ratio"]:
                print(
                    f"  {name:<26} ratio {row['ratio']} ({row['ratio_low']} to {row['ratio_high']}), "
                    f"predicted {row['predicted'] or '-'}, flops {row['flops'] or '-'}, "
                    f"distortion {row['distortion'] or '-'}"
                )
        random = [row for name, row in own.items() if name.startswith("random")]
        if random:
            size = np.abs([
                float(row["predicted_ms"]) / float(row["least_ms"]) - 1 for row in random
            ])
            print(
                f"  prediction, {len(random)} random plans: mean error {size.mean():.1%}, largest "
                f"{size.max():.1%}, within 10 %: {(size <= 0.1).sum()}"
            )
    plot(rows)


def plot(rows: Sequence[Mapping[str, str]]) -> None:
    """Plot predicted against measured latency, a panel for each net, as ``docs/img/latency.png``."""
    nets = list(dict.fromkeys(row["net"] for row in rows if row["model"].startswith("random")))
    if not nets:
        return
    try:
        from matplotlib import pyplot
    except ImportError:
        print("no plot: matplotlib is not installed")
        return
    figure, panels = pyplot.subplots(1, len(nets), figsize=(4 * len(nets), 4), squeeze=False)
    for axes, net in zip(panels[0], nets, strict=True):
        own = [row for row in rows if row["net"] == net and row["model"].startswith("random")]
        x, y = ([float(row[name]) for row in own] for name in ("least_ms", "predicted_ms"))
        ends = [0, 1.05 * max(*x, *y)]
        axes.plot(ends, ends, color="0.6")
        axes.fill_between(ends, [0, 0.9 * ends[1]], [0, 1.1 * ends[1]], color="0.9")
        axes.scatter(x, y, s=12)
        axes.set(xlabel="measured (ms)", ylabel="predicted (ms)", title=net, xlim=ends, ylim=ends)
    figure.tight_layout()
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, dpi=100)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
