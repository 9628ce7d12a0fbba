"""Seconds of kernels in onnxruntime."""

from __future__ import annotations

import pytest

from graphprune.analysis.analyse import analyse
from graphprune.export.ort_session import Runtime
from graphprune.passes.latency import measure, slim_onnx, workload
from graphprune.passes.latency.measure import measure_network
from graphprune.plan.latency_table import Kernel
from tests.passes.latency.helpers import program


@pytest.mark.onnx
def test_every_kernel_runs_in_onnxruntime() -> None:
    for operator in workload(analyse(program())).operators:
        kernel = operator.kernel
        points = [kernel.widths, tuple(max(1, w // 2 - 1) for w in kernel.widths)]
        assert all(s > 0 for s in measure(kernel, points, runtime=Runtime(), rounds=2))


@pytest.mark.onnx
def test_each_point_has_its_time() -> None:
    kernel = Kernel("linear", (64, 0), (256, 256))
    points = [(8, 8), (256, 256)]
    assert len([s for s in measure(kernel, points, runtime=Runtime(), rounds=2) if s > 0]) == 2


@pytest.mark.onnx
def test_a_network_takes_time() -> None:
    dense = program()
    model = slim_onnx(dense, analyse(dense), [24, 16])
    assert measure_network(model, Runtime(), batch=2, rounds=2) > 0
