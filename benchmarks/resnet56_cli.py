"""Measure time and memory of a whole compression: ResNet-56 for CIFAR to half its FLOPs, by the CLI.

    python benchmarks/resnet56_cli.py --checkpoint resnet56.pt
    python benchmarks/resnet56_cli.py --checkpoint resnet50.pt --arch torchvision:resnet50 \
        --input 2x3x224x224 --data images.zip --samples 128

The checkpoint is a state dict of ``graphprune.models.cifar_resnet:resnet56``. The command line runs
in a process of its own, with start-up, export and ONNX included, and writes to a temporary folder.
Options that aren't known here are handed on. Target without data: under 60 s on two cores.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ARCH = "graphprune.models.cifar_resnet:resnet56"
_BYTES = 1 if sys.platform == "darwin" else 1024
"""Bytes in the unit of ``ru_maxrss``."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Time `graphprune compress` on ResNet-56.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="state dict of ResNet-56")
    parser.add_argument("--arch", default=ARCH, help="what builds the network")
    parser.add_argument("--flops", default="0.5", help="budget")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        help="shape of the input; default: example_inputs() of the network's module",
    )
    options, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [
            sys.executable,
            "-m",
            "graphprune",
            "compress",
            str(options.checkpoint),
            "--arch",
            options.arch,
            "--flops",
            options.flops,
            "-o",
            str(out),
            "--quiet",
            *(word for shape in options.input for word in ("--input", shape)),
            *more,
        ]
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        wall = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            print(f"graphprune ended with exit code {done.returncode}", file=sys.stderr)
            return done.returncode
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    show(report, wall, cpu, after.ru_maxrss * _BYTES)
    return 0


def show(report: dict[str, dict[str, float]], wall: float, cpu: float, memory: int) -> None:
    """Print what was measured."""
    print(f"wall              {wall:8.2f} s")
    print(f"CPU               {cpu:8.2f} s")
    print(f"peak memory       {memory / 2**20:8.0f} MiB")
    before, after = report["before"]["macs"], report["after"]["macs"]
    print(f"MACs              {before / 1e6:8.2f} M -> {after / 1e6:.2f} M ({after / before:.2%})")
    print(f"oracle error      {report['oracle']['max_error']:8.1e}")
    print(f"ONNX error        {report['onnx']['max_error']:8.1e}")


if __name__ == "__main__":
    sys.exit(main())
