"""Tables of kernels, each measured once, and their scale."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from graphprune.analysis.analyse import Analysis, analyse
from graphprune.export.ort_session import Runtime
from graphprune.passes.latency import Latency, workload
from graphprune.passes.latency.profile import VISITS, calibrated, profile
from graphprune.plan.latency_table import Kernel
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


def test_a_scale_is_fitted_to_whole_networks() -> None:
    state, table = made()
    work = workload(state[Analysis])
    plain = Latency(work, table)
    dense = state[Analysis].widths.tolist()
    nets = [
        (widths, 1.2 * plain.at(widths) * off)
        for widths, off in ((dense, 1.0), ([12, 8], 1.05), ([8, 8], 0.95))
    ]
    fitted = calibrated(table, work, nets)
    assert fitted.scale == pytest.approx(1.2)
    assert fitted.error["largest"] == pytest.approx(1 / 0.95 - 1)
