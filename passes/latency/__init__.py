"""Latency: how long does onnxruntime take for a network of some widths?

``operators`` lists the kernels of a program (``exported`` and ``fusion`` tell what they fuse),
``measure`` times each at some widths by models from ``branches``, ``profile`` makes the table of
all, and ``predict`` gives latency as a function of the widths, for budgets; ``branch_workload`` tells what runs
where whole branches go. ``profiling`` is the pass.
"""

from __future__ import annotations

from .branch_workload import branch_workload
from .measure import Measure, measure
from .operators import KernelCall, Workload, workload
from .predict import Latency
from .profiling import ProfileLatency, slim_onnx

__all__ = [
    "KernelCall",
    "Latency",
    "Measure",
    "ProfileLatency",
    "Workload",
    "branch_workload",
    "measure",
    "slim_onnx",
    "workload",
]
