"""Tables of kernels, each measured once, and their scale."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from graphprune.analysis.analyse import Analysis, analyse
from graphprune.export.ort_session import Runtime
from graphprune.passes.latency import Latency, workload
from graphprune.passes.latency.profile import VISITS, calibrated, profile
from graphprune.plan.kernel_times import Kernel, KernelTimes
from tests.passes.latency.helpers import Concat, made, pretend, program


def test_layers_alike_are_measured_once() -> None:
    asked: list[Kernel] = []

    def spy(kernel: Kernel, points: Sequence[tuple[int, ...]]) -> list[float]:
        asked.append(kernel)
        return pretend(kernel, points)

    work = workload(analyse(program(Concat(3))))
    profile(work, spy, runtime=Runtime())
    three_alike = work.operators[0].kernel
    assert len(work.operators) == 5
    assert asked.count(three_alike) == asked.count(work.operators[3].kernel) == VISITS


def test_a_table_is_scaled_to_the_dense_network() -> None:
    state, table = made()
    work = workload(state[Analysis])
    plain = Latency(work, table)
    dense = state[Analysis].widths.tolist()
    nets = [
        (widths, 1.2 * plain.at(widths) * off)
        for widths, off in ((dense, 1.0), ([12, 8], 1.0), ([8, 8], 1.0))
    ]
    fitted = calibrated(table, work, nets)
    assert fitted.scale == pytest.approx(1.2)
    assert fitted.error["largest"] == pytest.approx(0.0, abs=1e-9)
    other = calibrated(table, work, [*nets[:2], (nets[2][0], 0.5 * nets[2][1])])
    assert Latency(work, other).at(dense) == pytest.approx(nets[0][1])
    assert other.error["largest"] > 0.1


@pytest.mark.parametrize("share", [0.5, 0.75])
def test_what_a_profile_adds_to_every_operator_is_taken_off(share: float) -> None:
    state, table = made()
    work = workload(state[Analysis])
    true = Latency(work, table)
    added = (
        share
        / (1 - share)
        * min(min(t.even.seconds + t.odd.seconds) for t in table.kernels.values())
    )
    slower = replace(table, kernels={n: _longer(t, added) for n, t in table.kernels.items()})
    nets = [(w, true.at(w)) for w in (state[Analysis].widths.tolist(), [12, 8], [4, 4], [1, 1])]
    found = calibrated(slower, work, nets)
    assert found.error["mean"] < 1e-6
    assert found.scale == pytest.approx(1.0)
    assert calibrated(table, work, nets).kernels == table.kernels


def test_no_time_falls_below_a_tenth_of_what_was_measured() -> None:
    state, table = made()
    work = workload(state[Analysis])
    nets = [(state[Analysis].widths.tolist(), 1.0), ([1, 1], 1e-9)]
    found = calibrated(table, work, nets)
    for name, times in found.kernels.items():
        before = table.kernels[name]
        assert all(
            t >= 0.1 * s for t, s in zip(times.even.seconds, before.even.seconds, strict=True)
        )


def _longer(times: KernelTimes, added: float) -> KernelTimes:
    even, odd = (
        replace(g, seconds=tuple(s + added for s in g.seconds)) for g in (times.even, times.odd)
    )
    return replace(times, even=even, odd=odd)


def test_a_table_holds_what_was_measured_at_the_points_it_was_measured_at() -> None:
    work = workload(analyse(program()))
    table = profile(work, pretend, runtime=Runtime(), batch=3)
    assert table.batch == 3
    assert table.kernels.keys() == {o.kernel.key for o in work.operators}
    for operator in work.operators:
        kernel, found = operator.kernel, table.kernels[operator.kernel.key]
        for grid in (found.even, found.odd):
            for widths in itertools.product(*grid.axes):
                at = float(grid.at([np.array(w) for w in widths]))
                assert at == pytest.approx(pretend(kernel, [widths])[0])
        assert all(axis[-1] == w for axis, w in zip(found.even.axes, kernel.widths, strict=True))


def test_a_machine_that_slows_down_now_and_then_does_no_harm() -> None:
    calls = itertools.count()

    def slow(kernel: Kernel, points: Sequence[tuple[int, ...]]) -> list[float]:
        factor = 10 if next(calls) % 2 else 1
        return [factor * s for s in pretend(kernel, points)]

    work = workload(analyse(program()))
    steady = profile(work, pretend, runtime=Runtime())
    assert profile(work, slow, runtime=Runtime()).kernels == steady.kernels


def test_each_measurement_is_told() -> None:
    news: list[str] = []
    work = workload(analyse(program(Concat(3))))
    profile(work, pretend, runtime=Runtime(), tell=news.append)
    count = len({o.kernel for o in work.operators}) * VISITS
    assert news == [f"profile {number + 1} of {count}" for number in range(count)]
