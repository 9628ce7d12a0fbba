"""graphprune: a compiler pass that makes neural networks smaller.

    >>> import graphprune as gp
    >>> result = gp.compress(model, example_inputs, flops=0.5)  # doctest: +SKIP
    >>> result.export_onnx("small.onnx")  # doctest: +SKIP

Importing this package imports no torch; names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from graphprune.ir.trace import trace
    from graphprune.plan.budget import Budget
    from graphprune.plan.latency_table import LatencyTable
    from graphprune.plan.plan import Plan
    from graphprune.report.report import Report
    from graphprune.training.sparsify import Sparsify
    from graphprune.workflow.apply_plan import apply
    from graphprune.workflow.budget_sweep import compress_within, sweep
    from graphprune.workflow.result import Result
    from graphprune.workflow.soup import soup

    from .api import compress, decide, inspect, load, profile
    from .data import images
    from .errors import GraphpruneError
    from .pipeline import AnalysisPass, Pipeline, State, TransformPass

__all__ = [
    "AnalysisPass",
    "Budget",
    "GraphpruneError",
    "LatencyTable",
    "Pipeline",
    "Plan",
    "Report",
    "Result",
    "Sparsify",
    "State",
    "TransformPass",
    "__version__",
    "apply",
    "compress",
    "compress_within",
    "decide",
    "images",
    "inspect",
    "load",
    "profile",
    "soup",
    "sweep",
    "trace",
]

_HOME = {
    "AnalysisPass": "pipeline",
    "Budget": "plan.budget",
    "GraphpruneError": "errors",
    "LatencyTable": "plan.latency_table",
    "Pipeline": "pipeline",
    "Plan": "plan.plan",
    "Report": "report.report",
    "Result": "workflow.result",
    "Sparsify": "training.sparsify",
    "State": "pipeline",
    "TransformPass": "pipeline",
    "apply": "workflow.apply_plan",
    "compress": "api",
    "compress_within": "workflow.budget_sweep",
    "decide": "api",
    "images": "data",
    "inspect": "api",
    "load": "api",
    "profile": "api",
    "soup": "workflow.soup",
    "sweep": "workflow.budget_sweep",
    "trace": "ir.trace",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
