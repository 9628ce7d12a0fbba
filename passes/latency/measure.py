"""Time kernels and networks in onnxruntime, operator by operator."""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from graphprune.export.ort_session import CPU, Runtime, Timed, feed, session
from graphprune.export.timing import fastest, interleaved
from graphprune.plan.kernel_times import Kernel

from .branches import branched, weight_bytes

__all__ = ["Measure", "measure", "measure_network"]

Measure = Callable[[Kernel, Sequence[tuple[int, ...]]], list[float]]
"""Function that returns the seconds of a kernel at each of some widths."""

_ROOM = 2**28
"""Most bytes of weights and activations in one model: 256 MiB."""

_LAYOUT = ("ReorderInput", "ReorderOutput")
_SUFFIX = "_kernel_time"


def measure(
    kernel: Kernel, points: Sequence[tuple[int, ...]], *, runtime: Runtime, rounds: int
) -> list[float]:
    """Time a kernel at some widths, each in the fastest of some rounds; in seconds.

    On the CPU, onnxruntime's own profile says what each operator takes; moving a value from one
    layout to another at the ends of a branch isn't counted, as a network doesn't do that
    between layers. Other providers run operators while the host goes on, so there whole runs of
    models of one branch are timed.

    Args:
        kernel: the kernel to run.
        points: widths to run it at. Unit: channels.
        runtime: execution provider and threads.
        rounds: how often each point runs.
    """
    if runtime.provider != CPU:
        runners = [_runner(branched(kernel, [point]), runtime) for point in points]
        return [fastest(each) for each in interleaved(runners, rounds=rounds)]
    found: list[float] = []
    for part in _parts(kernel, points):
        taken = _profiled(branched(kernel, part), runtime, rounds)
        found += [_of_branch(taken, number, rounds) for number in range(len(part))]
    return found


def measure_network(model: bytes, runtime: Runtime, *, batch: int, rounds: int) -> float:
    """Time a network as a user runs it, without a profile: its fastest runs, in seconds."""
    return fastest(interleaved([_runner(model, runtime, batch)], rounds=rounds)[0])


def _runner(model: bytes, runtime: Runtime, batch: int = 1) -> Timed:
    of = session(model, runtime)
    return Timed(of, feed(of, batch=batch))


def _parts(kernel: Kernel, points: Sequence[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """Divide the points into parts that fit into memory."""
    parts: list[list[tuple[int, ...]]] = [[]]
    room = _ROOM
    for point in points:
        need = weight_bytes(kernel, point)
        if parts[-1] and need > room:
            parts.append([])
            room = _ROOM
        parts[-1].append(point)
        room -= need
    return parts


def _profiled(model: bytes, runtime: Runtime, rounds: int) -> dict[str, list[float]]:
    """Return seconds by operator and run, read from onnxruntime's profile."""
    with tempfile.TemporaryDirectory() as folder:
        of = session(model, runtime, profile=Path(folder) / "profile")
        interleaved([Timed(of, feed(of), block=0)], rounds=rounds, warmup=2)
        text = Path(of.end_profiling()).read_text(encoding="utf-8")
    taken: dict[str, list[float]] = defaultdict(list)
    for event in json.loads(text):
        if event["cat"] == "Node" and event["name"].endswith(_SUFFIX):
            name = event["name"].removesuffix(_SUFFIX)
            kind = event["args"]["op_name"]
            # Nodes that onnxruntime puts in have names of their own only by number.
            name = f"{kind}#{event['args']['node_index']}" if kind in _LAYOUT else name
            taken[name].append(event["dur"] * 1e-6)
    return {name: seconds[-rounds:] for name, seconds in taken.items()}


def _of_branch(taken: dict[str, list[float]], number: int, rounds: int) -> float:
    """Return the seconds of all operators of a branch in its fastest round."""
    own = re.compile(f"b{number}_(?!second_)")
    parts = [seconds for name, seconds in taken.items() if own.match(name)]
    totals = [sum(part[i] for part in parts) for i in range(rounds)]
    return max(fastest(totals), 1e-7)
