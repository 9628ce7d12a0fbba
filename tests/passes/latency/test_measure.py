"""Seconds of kernels in onnxruntime."""

from __future__ import annotations

import pytest

from graphprune.analysis.analyse import analyse
from graphprune.export.ort_session import Runtime
from graphprune.passes.latency import measure, workload
from tests.passes.latency.helpers import program


@pytest.mark.onnx
def test_every_kernel_runs_in_onnxruntime() -> None:
    for operator in workload(analyse(program())).operators:
        kernel = operator.kernel
        points = [kernel.widths, tuple(max(1, w // 2 - 1) for w in kernel.widths)]
        assert all(s > 0 for s in measure(kernel, points, runtime=Runtime(), rounds=2))
