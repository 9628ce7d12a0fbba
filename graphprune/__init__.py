"""graphprune: a compiler pass that makes neural networks smaller.

    >>> import graphprune as gp
    >>> result = gp.compress(model, example_inputs, flops=0.5)  # doctest: +SKIP
    >>> result.export_onnx("small.onnx")  # doctest: +SKIP

Importing this package imports no torch; names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphprune.version import __version__

if TYPE_CHECKING:
    from graphprune.api import apply, compress, decide, inspect, load, profile
    from graphprune.budget import Budget
    from graphprune.data import images
    from graphprune.errors import GraphpruneError
    from graphprune.explore import compress_within, sweep
    from graphprune.latency import LatencyTable
    from graphprune.pipeline import AnalysisPass, Pipeline, State, TransformPass
    from graphprune.plan import Plan
    from graphprune.report import Report
    from graphprune.result import Result
    from graphprune.tracing import trace

__all__ = [
    "AnalysisPass",
    "Budget",
    "GraphpruneError",
    "LatencyTable",
    "Pipeline",
    "Plan",
    "Report",
    "Result",
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
    "sweep",
    "trace",
]

_HOME = {
    "AnalysisPass": "pipeline",
    "Budget": "budget",
    "GraphpruneError": "errors",
    "LatencyTable": "latency",
    "Pipeline": "pipeline",
    "Plan": "plan",
    "Report": "report",
    "Result": "result",
    "State": "pipeline",
    "TransformPass": "pipeline",
    "apply": "api",
    "compress": "api",
    "compress_within": "explore",
    "decide": "api",
    "images": "data",
    "inspect": "api",
    "load": "api",
    "profile": "api",
    "sweep": "explore",
    "trace": "tracing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
