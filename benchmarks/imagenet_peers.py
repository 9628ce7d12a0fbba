"""The network of ``imagenet.py`` at the same budgets, by Torch-Pruning and onnxsim.

    pip install --no-deps torch-pruning onnxsim
    python benchmarks/imagenet_peers.py --data-dir ../shared/data

Torch-Pruning removes channels by their L2 norm, globally, with and without BatchNorm statistics that are estimated again on
the calibration images (``peers.py``). onnxsim prunes the exported file by the norms of filters, by one threshold for all layers, and by norms
times activations (``onnx_pruning.py``). Neither has a budget, so ratios are bisected. The rows are those of ``imagenet.py``,
without times.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnxruntime
import onnxsim
import torch
from imagenet import BATCH, RESULTS, Run, Setting
from onnx_pruning import bisected, macs, methods
from peers import pruned, reestimate
from torch import Tensor, nn


def torch_pruned(model: nn.Module, images: Tensor, budget: float) -> Iterator[tuple[str, Run]]:
    """Yield the networks that Torch-Pruning makes."""
    small = pruned(model, images, torch.empty(0), "magnitude", budget).eval()
    yield "torch-pruning", small
    yield "torch-pruning + BN", reestimate(small, images)


def onnx_pruned(model: nn.Module, images: Tensor, budget: float) -> Iterator[tuple[str, Run]]:
    """Yield the networks that onnxsim makes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dense.onnx"
        shapes = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(
            model, (images[:2],), path, dynamic_shapes=shapes, dynamo=True, verbose=False
        )
        dense, _ = onnxsim.simplify(onnx.load(path))
    batches = [{dense.graph.input[0].name: x.numpy()} for x in images.split(BATCH)]
    for name, prune in methods(dense, batches).items():
        try:
            small, _, _ = bisected(prune, budget * macs(dense))
        except ValueError as refused:
            print(f"{name}: {refused}", flush=True)
            continue
        yield name, runner(small)


def runner(model: onnx.ModelProto) -> Run:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.7, 0.5])
    parser.add_argument("--samples", type=int, default=400)
    options = parser.parse_args()
    setting = Setting.prepared(options.data_dir, options.samples)
    seen = torch.cat([batch[0] for batch in setting.data.batches])
    rows = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    for budget in options.budgets:
        for tool in (torch_pruned, onnx_pruned):
            for name, run in tool(setting.model, seen, budget):
                row = setting.compared(run) | {"budget": budget, "samples": setting.data.samples}
                print(name, f"{budget:g}", json.dumps(row), flush=True)
                rows[f"{name} {budget:g} {setting.data.samples}"] = row
                RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
