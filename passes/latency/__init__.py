"""Latency: what onnxruntime runs of a program, measured operator by operator."""

from __future__ import annotations

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
    "measure",
    "slim_onnx",
    "workload",
]
