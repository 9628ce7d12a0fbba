"""Latency: how long does onnxruntime take for a network of some widths?

``operators`` lists the kernels of a program as ``kernel_calls`` (``exported`` and ``fusion`` tell what they fuse),
``measure`` times each at some widths by models from ``branches``, ``profile`` makes the table of
all, and ``predict`` gives latency as a function of the widths, for budgets; ``branch_workload`` tells what runs
where whole branches go. ``profiling`` is the pass, and ``stopwatch`` times the network of a plan beside the dense one.
"""

from __future__ import annotations

from .branch_workload import branch_workload
from .kernel_calls import KernelCall, Workload
from .measure import Measure, measure
from .operators import workload, written_bytes
from .predict import Latency
from .profiling import ProfileLatency, slim_onnx
from .stopwatch import BUSY, Measured, Stopwatch

__all__ = [
    "BUSY",
    "KernelCall",
    "Latency",
    "Measure",
    "Measured",
    "ProfileLatency",
    "Stopwatch",
    "Workload",
    "branch_workload",
    "measure",
    "slim_onnx",
    "workload",
    "written_bytes",
]
