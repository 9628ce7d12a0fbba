"""Measure the latency table of a program's kernels, and how well it predicts whole networks."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from graphprune.export.ort_session import Runtime
from graphprune.plan.kernel_times import CLASSES, Grid, Kernel, KernelTimes, alignment
from graphprune.plan.latency_table import LatencyTable

from .kernel_calls import Workload
from .measure import Measure
from .predict import Latency

__all__ = ["VISITS", "calibrated", "profile"]

_SHARES = (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)
"""Shares of the dense width that make up the grid of even widths; 8 and 16 are added."""

_ODD_SHARES = (1 / 8, 1 / 2, 1)
"""Shares of the dense width that make up the grid of odd widths."""

_ALIKE = 0.03
"""Logarithm of the ratio of times below which odd widths count as no slower than even ones: 3 %."""

VISITS = 5
"""Times at which each kernel is measured, the fastest of which counts: on a shared machine a core runs
half as fast for a tenth of a second to a minute."""

_ADDED = np.linspace(0.0, 2.0, 17)
"""What the profile may add to each operator, as multiples of the shortest time in the table."""

_REFERENCE = Kernel("linear", (64, 0), (256, 256))
"""Kernel whose time per multiply-accumulate is taken for operators without a kernel of their own."""

_COPY = Kernel("Relu", (1, 0, 56, 56), (64,), (("axis", (1,)),))
"""Kernel whose time per byte written is taken for operators without a kernel of their own."""


def profile(
    work: Workload,
    measure: Measure,
    *,
    runtime: Runtime,
    batch: int = 1,
    tell: Callable[[str], object] = lambda _: None,
) -> LatencyTable:
    """Measure every distinct kernel of a program, however many layers share it, once.

    Args:
        work: the operators of the program.
        measure: returns the seconds of a kernel at some widths.
        runtime: execution provider and threads that it measures on.
        batch: samples per run.
        tell: called with the progress.
    """
    import onnxruntime

    kernels = list(dict.fromkeys(operator.kernel for operator in work.operators))
    taken = [[] for _ in kernels]
    points = [_points(kernel.widths) for kernel in kernels]
    for visit in range(VISITS):
        for number, kernel in enumerate(kernels):
            tell(f"profile {visit * len(kernels) + number + 1} of {VISITS * len(kernels)}")
            taken[number].append(measure(kernel, points[number]))
    measured = {
        kernel.key: _fitted(kernel.widths, np.min(each, axis=0).tolist())
        for kernel, each in zip(kernels, taken, strict=True)
    }
    (copy,), (reference,) = (measure(k, [k.widths]) for k in (_COPY, _REFERENCE))
    machine = {
        "provider": runtime.provider,
        "threads": runtime.threads,
        "processor": platform.processor() or platform.machine(),
        "onnxruntime": onnxruntime.__version__,
    }
    return LatencyTable(
        measured,
        per_byte=copy / (4 * 64 * 56 * 56),
        per_mac=reference / (64 * 256 * 256),
        batch=batch,
        machine=machine,
    )


def _points(widths: tuple[int, ...]) -> list[tuple[int, ...]]:
    """List the widths at which a kernel is measured: even, odd, then one of each class."""
    even, odd = [_even(w) for w in widths], [_odd(w) for w in widths]
    return [*product(*even), *product(*odd), *product(*map(_probes, widths))]


def _even(width: int) -> tuple[int, ...]:
    """Return multiples of 16, 8 or 4, and the dense width."""
    step = next((s for s, least in ((16, 64), (8, 16), (4, 4)) if width >= least), 1)
    multiples = {max(step, round(share * width / step) * step) for share in _SHARES}
    small = {w for w in (8, 16) if w < width}
    return tuple(sorted(w for w in multiples | small | {width} if w <= width))


def _odd(width: int) -> tuple[int, ...]:
    found = {max(1, round(share * width) // 2 * 2 - 1) for share in _ODD_SHARES}
    return tuple(sorted(found))


def _probes(width: int) -> tuple[int, ...]:
    """Return one width of each class (power of 2 that divides it), close together where possible."""
    aim = width * 3 // 4
    classes = alignment(np.arange(1, width + 1))
    found: list[int] = []
    for number in range(CLASSES):
        own = np.flatnonzero(classes == number) + 1
        found.append(int(own[np.abs(own - aim).argmin()]) if len(own) else width)
    return tuple(found)


def _fitted(widths: tuple[int, ...], seconds: Sequence[float]) -> KernelTimes:
    """Fit the grids of even and odd widths, and how near each class of widths is to either."""
    points = _points(widths)
    even, odd = tuple(_even(w) for w in widths), tuple(_odd(w) for w in widths)
    first = int(np.prod([len(axis) for axis in even]))
    second = first + int(np.prod([len(axis) for axis in odd]))
    fast, slow = Grid(even, tuple(seconds[:first])), Grid(odd, tuple(seconds[first:second]))
    probes = points[second:]
    where = [np.array([p[axis] for p in probes]) for axis in range(len(widths))]
    quick, late = np.log(fast.at(where)), np.log(slow.at(where))
    span = late - quick
    share = np.where(
        span > _ALIKE, (np.log(seconds[second:]) - quick) / np.maximum(span, _ALIKE), 0
    )
    share = np.clip(share, 0, 1).reshape((CLASSES,) * len(widths))
    share[(CLASSES - 1,) * len(widths)] = 0.0  # by definition
    return KernelTimes(fast, slow, tuple(np.round(share, 3).ravel().tolist()))


def calibrated(
    table: LatencyTable, work: Workload, networks: Sequence[tuple[Sequence[int], float]]
) -> LatencyTable:
    """Fit a table to the times of whole networks, and note the error that is left.

    What the profile adds to each operator is taken off again: as much as gives the least mean error. Then the table
    is scaled, so that the dense network takes what was measured, as absolute budgets need.

    Args:
        table: the table of the kernels alone.
        work: the operators of the dense program.
        networks: widths of the groups, and the seconds measured, of each network, the dense one first.
    """
    plain = replace(table, scale=1.0, constant=0.0)
    least = min((min(t.even.seconds + t.odd.seconds) for t in table.kernels.values()), default=0.0)
    fits = [_scaled(_lessened(plain, float(part) * least), work, networks) for part in _ADDED]
    return min(fits, key=lambda fit: fit.error["mean"])


def _lessened(table: LatencyTable, added: float) -> LatencyTable:
    """Take off what the profile adds to each operator, in seconds, but leave a tenth of every time."""

    def less(grid: Grid) -> Grid:
        return replace(grid, seconds=tuple(max(s - added, s / 10) for s in grid.seconds))

    kernels = {
        name: replace(times, even=less(times.even), odd=less(times.odd))
        for name, times in table.kernels.items()
    }
    return replace(table, kernels=kernels)


def _scaled(
    table: LatencyTable, work: Workload, networks: Sequence[tuple[Sequence[int], float]]
) -> LatencyTable:
    """Scale a table to the first of some networks, and note the errors over all."""
    plain = Latency(work, table)
    predicted = np.array([plain.at(widths) for widths, _ in networks])
    measured = np.array([seconds for _, seconds in networks])
    scale = float(measured[0] / predicted[0])
    errors = np.abs(scale * predicted / measured - 1)
    return replace(
        table,
        scale=scale,
        error={
            "networks": float(len(networks)),
            "mean": float(errors.mean()),
            "largest": float(errors.max()),
        },
    )
