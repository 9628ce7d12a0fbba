"""Seconds of kernels in onnxruntime."""

from __future__ import annotations

import pytest

from graphprune.analysis.analyse import analyse
from graphprune.export.ort_session import Runtime
from graphprune.passes.latency import measure, slim_onnx, workload
from graphprune.passes.latency.branches import branched
from graphprune.passes.latency.measure import _profiled, measure_network
from graphprune.plan.kernel_times import Kernel
from tests.passes.latency.helpers import program

CONV = (
    ("dilation", (1, 1)),
    ("groups", (1,)),
    ("kernel", (3, 3)),
    ("padding", (1, 1, 1, 1)),
    ("stride", (1, 1)),
)


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
def test_a_sum_is_fused_at_few_channels_as_at_many() -> None:
    kernel = Kernel("conv", (1, 0, 16, 16), (64, 64), CONV, (("Add",), ("Relu",)))
    taken = _profiled(branched(kernel, [(64, 64), (8, 8)]), Runtime(), rounds=2)
    own = [name.removesuffix("_nchwc").partition("_") for name in taken if name.startswith("b")]
    many, few = ({rest for branch, _, rest in own if branch == b} for b in ("b0", "b1"))
    assert many == few


@pytest.mark.onnx
def test_a_network_takes_time() -> None:
    dense = program()
    model = slim_onnx(dense, analyse(dense), [24, 16])
    assert measure_network(model, Runtime(), batch=2, rounds=2) > 0
