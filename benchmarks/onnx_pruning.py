"""Cut half of the FLOPs, from ONNX file to ONNX file, without training: graphprune and onnxsim.

    python benchmarks/onnx_pruning.py --data-dir ../shared/data

The networks, the images and the validation set are those of ``accuracy.py``. onnxsim 0.8 prunes
structurally by a share of the channels ("sparsity") and has no budget of FLOPs, so the sparsity is
bisected until the file has at most half of the MACs. Its input is the dense network's ONNX file after
``onnxsim.simplify``, which fuses BatchNorm, as its pruning expects. Methods:

* ``onnxsim``: L2 norms of the filters, the same share in each chain of layers.
* ``onnxsim global``: the same, one threshold for all chains.
* ``onnxsim wanda``: norms times those of the activations on the calibration images.
* ``graphprune``: ``gp.compress(..., flops=0.5, calibration=images)`` and ``export_onnx``.

All files are counted by one function, which multiplies out the shapes of Conv, Gemm and MatMul, and
all accuracies are those of the file in onnxruntime. ``convs_cut`` counts convolutions whose weight
is smaller than in the dense file. Seconds of onnxsim are those of the single call that gave the row,
without the bisection; graphprune's include its checks, its repair and the export.

The rows go to ``results/onnx_pruning.json``, and as a Markdown table to stdout.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import onnxsim
import torch
from accuracy import MODELS, RESNETS, Setting, prepare
from onnx import shape_inference

import graphprune as gp
from graphprune.models import cifar_resnet

RESULTS = Path(__file__).resolve().parent / "results" / "onnx_pruning.json"
STEPS = 12
"""Steps of bisection of the sparsity: to 0.0002 of the channels."""


def export(model: torch.nn.Module, path: Path) -> onnx.ModelProto:
    """Export the dense network as an ONNX file with BatchNorm fused by onnxsim."""
    batch = torch.export.Dim("batch")
    torch.onnx.export(
        model,
        cifar_resnet.example_inputs(),
        path,
        dynamic_shapes=({0: batch},),
        dynamo=True,
        verbose=False,
    )
    simple, _ = onnxsim.simplify(onnx.load(path))
    return simple


def weights(model: onnx.ModelProto) -> dict[str, list[tuple[int, ...]]]:
    """List the shapes of the weights, by kind of operator, in the order of the graph."""
    shapes = {each.name: tuple(each.dims) for each in model.graph.initializer}
    found: dict[str, list[tuple[int, ...]]] = {}
    for node in model.graph.node:
        if node.op_type in {"Conv", "Gemm", "MatMul"}:
            found.setdefault(node.op_type, []).append(shapes[node.input[1]])
    return found


def macs(model: onnx.ModelProto) -> int:
    """Count the multiply-accumulates of a batch of one: elements of each output times terms of each sum."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    del fixed.graph.value_info[:]
    inferred = shape_inference.infer_shapes(fixed, data_prop=True)
    known = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
    }
    known |= {each.name: list(each.dims) for each in fixed.graph.initializer}
    total = 0
    for node in fixed.graph.node:
        if node.op_type not in {"Conv", "Gemm", "MatMul"}:
            continue
        elements = math.prod(known[node.output[0]])
        if not elements:
            raise ValueError(f"the size of {node.output[0]} isn't known")
        conv = node.op_type == "Conv"
        total += elements * (
            math.prod(known[node.input[1]][1:]) if conv else known[node.input[0]][-1]
        )
    return total


def accuracy(model: onnx.ModelProto, setting: Setting) -> float:
    """Measure top-1 accuracy on the validation images, in onnxruntime on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    name = session.get_inputs()[0].name

    def run(x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(session.run(None, {name: x.numpy()})[0])

    return setting.accuracy(setting.outputs(run))


def bisected(
    prune: Callable[[float], onnx.ModelProto], bound: float
) -> tuple[onnx.ModelProto, float, float]:
    """Find the least pruned model that has at most ``bound`` MACs, its sparsity, and the seconds of that call."""
    low, high = 0.0, 0.99
    best: tuple[onnx.ModelProto, float, float] | None = None
    for _ in range(STEPS):
        sparsity = (low + high) / 2
        start = time.perf_counter()
        small = prune(sparsity)
        seconds = time.perf_counter() - start
        if macs(small) <= bound:
            best, high = (small, sparsity, seconds), sparsity
        else:
            low = sparsity
    if best is None:
        raise ValueError("no sparsity meets the budget")
    return best


def methods(
    dense: onnx.ModelProto, calibration: list[dict[str, np.ndarray]]
) -> dict[str, Callable[[float], onnx.ModelProto]]:
    """Return onnxsim's ways to prune a network by a sparsity, by name."""
    return {
        "onnxsim": lambda s: onnxsim.apply_structured_pruning(dense, s),
        "onnxsim global": lambda s: onnxsim.apply_structured_pruning(
            dense, s, global_sparsity=True
        ),
        "onnxsim wanda": lambda s: onnxsim.apply_structured_wanda_pruning(
            dense, calibration, sparsity=s
        ),
    }


def measure(name: str, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Measure the rows of one network."""
    setting = prepare(name, options, seed=0)
    dense = export(setting.model, folder / "dense.onnx")
    total, shapes = macs(dense), weights(dense)["Conv"]
    graph_input = dense.graph.input[0].name
    calibration = [{graph_input: x.numpy()} for x in setting.images.split(64)]

    def row(method: str, small: onnx.ModelProto, seconds: float, **more: float) -> dict[str, Any]:
        cut = sum(a != b for a, b in zip(shapes, weights(small)["Conv"], strict=True))
        new = {
            "model": name,
            "method": method,
            "flops": round(macs(small) / total, 4),
            "accuracy": accuracy(small, setting),
            "dense": accuracy(dense, setting),
            "convs": len(shapes),
            "convs_cut": cut,
            "seconds": round(seconds, 1),
            **more,
        }
        print(new, flush=True)
        return new

    rows = []
    for method, prune in methods(dense, calibration).items():
        try:
            small, sparsity, seconds = bisected(prune, total * options.budget)
        except Exception as error:  # noqa: BLE001  # a row of the table, whatever it is
            rows.append({"model": name, "method": method, "error": f"{error}"[:200]})
            print(rows[-1], flush=True)
            continue
        rows.append(row(method, small, seconds, sparsity=round(sparsity, 4)))

    start = time.perf_counter()
    result = gp.compress(
        setting.model,
        cifar_resnet.example_inputs(),
        flops=options.budget,
        calibration=[setting.images],
        samples=len(setting.images),
    )
    result.export_onnx(folder / "small.onnx")
    seconds = time.perf_counter() - start
    rows.append(row("graphprune", onnx.load(folder / "small.onnx"), seconds))
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Format the rows as Markdown."""
    lines = [
        "| network | method | FLOPs | top-1 (dense) | convolutions cut | seconds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        if "error" in row:
            lines.append(f"| {row['model']} | {row['method']} | {row['error']} | | | |")
            continue
        lines.append(
            f"| {row['model']} | {row['method']} | {row['flops']:.1%} | {row['accuracy']:.1%} "
            f"({row['dense']:.1%}) | {row['convs_cut']} of {row['convs']} | {row['seconds']:g} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, write the rows, print the table."""
    parser = argparse.ArgumentParser(description="Pruned ONNX files: graphprune and onnxsim.")
    parser.add_argument("--data-dir", type=Path, required=True, help="images and checkpoints")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(RESNETS))
    parser.add_argument("--budget", type=float, default=0.5, help="share of the MACs")
    parser.add_argument("--samples", type=int, default=1024, help="calibration images")
    parser.add_argument("--trained", type=Path, help="as in accuracy.py")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(name, options, Path(folder))
    known = {"versions": {m.__name__: m.__version__ for m in (onnxsim, onnxruntime, onnx, torch)}}
    RESULTS.write_text(json.dumps({**known, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
