"""Take all branches that can go out of published architectures, and check what is left.

    python benchmarks/depth_zoo.py
    python benchmarks/depth_zoo.py --only 'timm:*' --missing

Models and what they need are those of ``zoo.py``; the list is ``MODELS``. Weights are random, BatchNorms get
random statistics. Of each, all removable branches go at once, as far as the outputs still depend on the inputs, and
every other group keeps its channels. A row has the error against the masked original in float64, the
multiply-accumulates by torch's counter over those that graphprune counts, whether the model's class came back, and
the error of onnxruntime. Each model has a process of its own; the rows are in ``results/depth_zoo.json``.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch read it
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import json
import subprocess
import sys
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from zoo_nets import build

RESULTS = Path(__file__).resolve().parent / "results" / "depth_zoo.json"
MODELS = (
    "torchvision:resnet18", "torchvision:resnet50", "torchvision:mobilenet_v2",
    "torchvision:mobilenet_v3_small", "torchvision:regnet_y_400mf", "torchvision:regnet_x_400mf",
    "torchvision:efficientnet_b0", "torchvision:convnext_tiny", "torchvision:vit_b_16",
    "torchvision:swin_t", "timm:resnet26d", "timm:resnetv2_50", "timm:mobilenetv3_small_100",
    "timm:ghostnet_100", "timm:efficientnet_lite0", "timm:convmixer_768_32", "timm:deit_tiny_patch16_224",
    "timm:vit_tiny_patch16_224", "timm:mixer_s32_224", "timm:resmlp_12_224", "timm:seresnet18",
    "timm:mnasnet_100", "timm:poolformer_s12", "timm:edgenext_xx_small", "timm:cait_xxs24_224",
    "hf:bert", "hf:gpt2", "hf:vit", "hf:segformer",
)  # fmt: skip
_MARK = "depth-zoo "


def check(name: str) -> dict[str, Any]:
    """Take a model's branches out, and measure what is left."""
    import zoo
    from torch.export import ExportedProgram

    from graphprune.analysis.analyse import analyse
    from graphprune.analysis.branch_costs import costs_left
    from graphprune.cut.cut import Cut
    from graphprune.export.check import check_onnx
    from graphprune.export.to_onnx import to_onnx
    from graphprune.ir.program import input_names, output_names
    from graphprune.ir.trace import trace
    from graphprune.rebuild.rebuild import rebuild
    from graphprune.verify.oracle import verify

    model, inputs = build(name)
    program: ExportedProgram = trace(model, (inputs,))
    analysis = analyse(program)
    leads: list[int] = []
    for branch in analysis.removable.branches:
        if not analysis.without([*leads, branch.lead], idle=True).trouble:
            leads.append(branch.lead)
    if not leads:
        return {"branches": 0}
    gone = analysis.without(leads, idle=True).gone
    cut = Cut.keeping(analysis, {analysis.groups[number].id: () for number in gone})
    verdict = verify(cut)
    widths = [0 if n in gone else int(w) for n, w in enumerate(analysis.widths)]
    counted = costs_left(analysis, cut.left).macs.at(widths) * analysis.costs.batch
    found = rebuild(model, cut, cut.program, verdict.runs)
    exported = to_onnx(
        cut.program, input_names=input_names(program), output_names=output_names(program)
    )
    return {
        "branches": len(analysis.removable.branches),
        "gone": len(leads),
        "macs": round(counted / (analysis.dense_macs * analysis.costs.batch), 4),
        "torch_macs": round(zoo.macs(cut.program.module(), inputs) / counted, 6),
        "oracle": float(f"{verdict.max_error:.1e}"),
        "class": found.own_class,
        "class_reason": found.reason[:200],
        "onnx": float(f"{check_onnx(exported.SerializeToString(), cut.program).max_error:.1e}"),
    }


def measure(name: str, limit: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--worker", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"error": f"over {limit} s"}
    for line in done.stdout.splitlines():
        if line.startswith(_MARK):
            return json.loads(line.removeprefix(_MARK))
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return {"error": lines[-1][:300]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=["*"], help="patterns of models")
    parser.add_argument("--missing", action="store_true", help="only what has no row yet")
    parser.add_argument("--limit", type=int, default=900, help="seconds for a model")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        start = time.process_time()
        row = check(options.worker)
        print(_MARK + json.dumps(row | {"seconds": round(time.process_time() - start, 1)}))
        return
    rows = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    for name in MODELS:
        wanted = any(fnmatch(name, pattern) for pattern in options.only)
        if wanted and not (options.missing and name in rows):
            rows[name] = measure(name, options.limit)
            RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
            print(name, rows[name], flush=True)


if __name__ == "__main__":
    main()
