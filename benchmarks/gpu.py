"""Check that a GPU gives what the CPU gives, and time both; at most 8 minutes.

    PYTHONPATH=. python benchmarks/gpu.py
    PYTHONPATH=. python benchmarks/gpu.py --device cpu --small    # tests this script where there is no GPU

First the digits network is cut to half of its FLOPs on the CPU and on the device. By one plan, the held-out error of
the repaired networks may differ by ``SAME_ERROR``, their outputs by ``SAME_OUTPUTS`` (``--distil`` steps: by
``SAME_TRAINED``). A device may choose another plan, whose error may be larger by ``SAME_CHOICE``. With ``--device cpu``
the CPU is compared with itself without oneDNN, which rounds otherwise: so these bounds are seen to hold for rounding.

Then ResNet-50 at 224 is compressed with 1,024 images (``--small``: ResNet-20 at 32 with 128) on the device and on the CPU,
each in a process of its own, in what is left of the time; with an eighth of them before, as a CPU may need longer. The weights are random with unlike norms, the images too:
times don't depend on them. What doesn't end in time is said to take longer. Rows go to ``results/gpu.json`` if the
device isn't the CPU. It ends with 1 if a check fails.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from owner_nets import spread_norms

import graphprune as gp
from graphprune.errors import OptionError
from graphprune.ir.devices import described, find_device
from graphprune.models import cifar_resnet, digits

RESULTS = Path(__file__).resolve().parent / "results" / "gpu.json"

SECONDS = 480
"""Time for all of it."""

SAME_ERROR, SAME_OUTPUTS = 0.01, 1e-3
"""By one plan: relative difference of the held-out errors, and squared difference of the outputs over their variance."""

SAME_CHOICE = 0.05
"""By its own plan: how much larger the held-out error may be, relatively."""

STEPS, SAME_TRAINED = 20, 0.02
"""Steps of distillation, and squared difference of the outputs afterwards over their variance."""

STAGES = ("observe", "score", "choose", "recover")
"""What runs on the device."""


def check(device: torch.device) -> dict[str, Any]:
    """Compare the device with the CPU on the digits network."""
    net = digits.build()
    net.load_state_dict(torch.load(digits.CHECKPOINT))  # noqa: TID251
    train, held_out = digits.load_data()
    how: dict[str, Any] = {"calibration": [train.images[:512]], "any_width": True}
    cpu = gp.compress(net, digits.example_inputs(), flops=0.5, **how)
    more = {**how, "distil": STEPS}
    cpu_trained = gp.compress(net, digits.example_inputs(), plan=cpu.plan, **more)
    other_rounding = device.type == "cpu"
    with torch.backends.mkldnn.flags(enabled=not other_rounding):
        own = gp.compress(net, digits.example_inputs(), flops=0.5, device=device, **how)
        same = gp.compress(net, digits.example_inputs(), plan=cpu.plan, device=device, **how)
        trained = gp.compress(net, digits.example_inputs(), plan=cpu.plan, device=device, **more)
    errors = [each.report.recovery["after"] for each in (cpu, same, own)]
    found = {
        "plan": share_alike(cpu.plan, own.plan),
        "error on the CPU": errors[0],
        "error by the same plan": errors[1],
        "error by its own plan": errors[2],
        "outputs": apart(cpu.model, same.model, held_out.images),
        "outputs, trained": apart(cpu_trained.model, trained.model, held_out.images),
    }
    found["holds"] = (
        abs(errors[1] / errors[0] - 1) <= SAME_ERROR
        and errors[2] <= errors[0] * (1 + SAME_CHOICE)
        and found["outputs"] <= SAME_OUTPUTS
        and found["outputs, trained"] <= SAME_TRAINED
    )
    return found


def share_alike(one: gp.Plan, other: gp.Plan) -> float:
    """Compute which share of the channels both plans keep, of those that either keeps."""
    pairs = [(g.id, channel) for g in one.groups for channel in g.keep]
    others = [(g.id, channel) for g in other.groups for channel in g.keep]
    return len(set(pairs) & set(others)) / len(set(pairs) | set(others))


@torch.no_grad()
def apart(one: torch.nn.Module, other: torch.nn.Module, images: torch.Tensor) -> float:
    """Compute the squared difference of two networks' outputs over the variance of the first one's."""
    a, b = one.eval()(images), other.eval()(images)
    return float((a - b).square().mean() / a.var())


def compress_once(device: torch.device, images: int, *, small: bool) -> dict[str, Any]:
    """Compress a network with random images: times by stage, and memory."""
    torch.manual_seed(0)
    if small:
        net, size = cifar_resnet.resnet20(), 32
    else:
        import torchvision

        net, size = torchvision.models.resnet50(), 224
    spread_norms(net)
    batches = (torch.randn(16, 3, size, size) for _ in range(images // 16))
    start = time.perf_counter()
    result = gp.compress(
        net.eval(), (torch.randn(2, 3, size, size),), flops=0.5, calibration=batches, device=device
    )
    seconds = time.perf_counter() - start
    report = result.report
    return {
        "seconds": seconds,
        "on the device": sum(report.seconds.get(stage, 0.0) for stage in STAGES),
        "stages": dict(report.seconds),
        "error": report.recovery["after"],
        "device memory, GiB": torch.cuda.max_memory_allocated() / 2**30
        if device.type == "cuda"
        else None,
    }


def timed(device: torch.device, images: int, *, small: bool, limit: float) -> dict[str, Any]:
    """Compress in a process of its own, for so many seconds at most."""
    command = [sys.executable, __file__, "--device", str(device), "--once", str(images)]
    try:
        done = subprocess.run(
            [*command, *(["--small"] if small else [])],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=max(limit, 1.0),
        )
    except subprocess.TimeoutExpired:
        return {"longer than": limit}
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare a GPU with the CPU.")
    parser.add_argument("--device", default="cuda", help="the device to check; default: cuda")
    parser.add_argument("--small", action="store_true", help="time a small network")
    parser.add_argument("--once", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        device, cpu = find_device(options.device), torch.device("cpu")
    except OptionError as error:
        print(error, file=sys.stderr)
        return 2
    if options.once:
        with contextlib.redirect_stdout(sys.stderr):
            found = compress_once(device, options.once, small=options.small)
        print(json.dumps(found))
        return 0
    start = time.perf_counter()
    row: dict[str, Any] = {
        "device": described(device),
        "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "net": "resnet20" if options.small else "resnet50 at 224",
        "check": check(device),
    }
    print(json.dumps(row, indent=2), flush=True)
    times: dict[str, Any] = {}
    many = 128 if options.small else 1024
    runs = ((device, many), (device, many // 8), (cpu, many // 8), (cpu, many))
    for where, images in dict.fromkeys(runs):
        left = SECONDS - 10 - (time.perf_counter() - start)
        name = f"{where}, {images} images"
        times[name] = timed(where, images, small=options.small, limit=left)
        print(json.dumps({name: times[name]}, indent=2), flush=True)
    row |= {"times": times, "seconds": time.perf_counter() - start}
    if device.type != "cpu":
        RESULTS.write_text(json.dumps(row, indent=2) + "\n")
    print("holds" if row["check"]["holds"] else "FAILS", f"after {row['seconds']:.0f} s")
    return 0 if row["check"]["holds"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
