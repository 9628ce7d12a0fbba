"""Time half of the FLOPs in onnxruntime: is what was pruned faster, too?

    PYTHONPATH=. python benchmarks/speed.py mobilenet_v2 resnet34 resnet50
    PYTHONPATH=. python benchmarks/speed.py mobilenet_v2 --latency

Nets are torchvision's, with random weights whose channels have unlike norms. They are cut to half of the FLOPs by
``gp.compress`` as it is by default, with any widths (``round_to=1``), by Torch-Pruning, and by onnxsim 0.8 (its structured
pruning, the same share in each chain of layers, bisected). All files run in turn in one process, batch 1, with onnxruntime's own number of threads unless ``--threads`` says otherwise. ``--latency`` adds
``latency=0.5``, for which kernels are measured first: minutes. The net ``efficientnet_b0+lite0`` has the layers of a trained
EfficientNet-Lite0, whose weights ``imagenet.py`` says how to install, and random weights in its gates alone.

Every method is a row of ``results/speed.csv``; the rows of a net are replaced together. ``ratio`` is to the dense network,
the median over rounds, with quartiles; ``again`` is the dense network a second time, which says what noise there is.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import onnxsim
import torch
from imagenet import network as lite0
from latency import serialised, torch_pruned
from onnx_pruning import bisected, macs
from owner_nets import spread_norms
from torch import nn
from zoo_nets import build

import graphprune as gp
from graphprune.export.ort_session import Runtime, Timed, feed, session
from graphprune.export.timing import Ratio, interleaved
from graphprune.ir.trace import trace

RESULTS = Path(__file__).resolve().parent / "results" / "speed.csv"
COLUMNS = ("net", "threads", "method", "flops", "distortion", "ratio", "low", "high", "notes")
BUDGET = 0.5
TRAINED = "+lite0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nets", nargs="+", help="names of torchvision")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--latency", action="store_true", help="a latency budget as well")
    options = parser.parse_args()
    for name in options.nets:
        rows = measured(name, options)
        known = [row for row in read() if row["net"] != name]
        write([*known, *rows])


def measured(name: str, options: argparse.Namespace) -> list[dict[str, str]]:
    """Cut a net by each method, and time all of them in turn."""
    model, example = build(f"torchvision:{name.removesuffix(TRAINED)}")
    spread_norms(model)
    if name.endswith(TRAINED):
        take_trained(model)
    one = example[:1]
    made = dict(methods(model, one, latency=options.latency))
    sessions = [session(data, Runtime(options.threads)) for data, _ in made.values()]
    runs = interleaved([Timed(s, feed(s)) for s in sessions], rounds=options.rounds, warmup=3)
    rows: list[dict[str, str]] = []
    for (method, (_, known)), seconds in zip(made.items(), runs, strict=True):
        ratio = Ratio.of(seconds, runs[0])
        row = dict.fromkeys(COLUMNS, "") | known
        row |= {
            "net": name,
            "threads": str(options.threads or f"default of {os.cpu_count()}"),
            "method": method,
            **{
                column: f"{value:.3f}"
                for column, value in (
                    ("ratio", ratio.median),
                    ("low", ratio.low),
                    ("high", ratio.high),
                )
            },
        }
        print(", ".join(f"{key} {value}" for key, value in row.items() if value), flush=True)
        rows.append(row)
    return rows


def take_trained(model: nn.Module) -> None:
    """Give an EfficientNet-B0 the layers of a trained EfficientNet-Lite0, which has the same but for the gates."""
    from torchvision.ops import SqueezeExcitation

    gates = {m for g in model.modules() if isinstance(g, SqueezeExcitation) for m in g.modules()}
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    layers = [m for m in model.modules() if isinstance(m, kinds) and m not in gates]
    trained = [m for m in lite0().modules() if isinstance(m, kinds)]
    for layer, source in zip(layers, trained, strict=True):
        layer.load_state_dict(source.state_dict())


def methods(
    model: nn.Module, example: torch.Tensor, *, latency: bool
) -> Iterator[tuple[str, tuple[bytes, dict[str, str]]]]:
    """Make the ONNX file of every method, with what is known of it."""
    dense = serialised(trace(model, (example,))), {"flops": "1"}
    yield "dense", dense
    yield "again", dense
    yield "flops 0.5", exported(lambda: gp.compress(model, (example,), flops=BUDGET))
    yield (
        "flops 0.5, any widths",
        exported(lambda: gp.compress(model, (example,), flops=BUDGET, round_to=1)),
    )
    if latency:
        yield "latency 0.5", exported(lambda: gp.compress(model, (example,), latency=BUDGET))
    try:
        peer = torch_pruned(model, example)
    except RuntimeError as failed:
        print(f"torch-pruning: {failed}", flush=True)
    else:
        yield "torch-pruning", (peer, {"flops": f"{BUDGET}"})
    simple, _ = onnxsim.simplify(onnx.load_from_string(dense[0]))
    total = macs(simple)
    try:
        small, _, _ = bisected(
            lambda share: onnxsim.apply_structured_pruning(simple, share), BUDGET * total
        )
    except ValueError as refused:
        print(f"onnxsim: {refused}", flush=True)
        return
    yield "onnxsim", (small.SerializeToString(), {"flops": f"{macs(small) / total:.4f}"})


def exported(compress: Callable[[], gp.Result]) -> tuple[bytes, dict[str, str]]:
    """Compress, export, and tell what the report says of it."""
    result = compress()
    report = result.report
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.onnx"
        result.export_onnx(path)
        onnx = path.read_bytes()
    told = ("run fast", "of the time of the dense network")
    return onnx, {
        "flops": f"{report.after.macs / report.before.macs:.4f}",
        "distortion": f"{report.allocation['distortion']:.4g}",
        "notes": "; ".join(note for note in report.notes if any(part in note for part in told)),
    }


def read() -> list[dict[str, str]]:
    """Read the rows that are there."""
    if not RESULTS.is_file():
        return []
    with RESULTS.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(rows: list[dict[str, str]]) -> None:
    """Write all rows."""
    with RESULTS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
