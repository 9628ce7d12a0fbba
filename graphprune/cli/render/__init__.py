"""Print what the commands have to say: what does a command write on stdout or stderr?

One function for each kind of result. Results are tables on stdout, or one JSON document there;
errors and probes of a search go to stderr.
"""

from __future__ import annotations

from .compression import checkpoint, decision, probe, report
from .for_ci import benchmark_gate, comparison_gate, shortfalls
from .inspection import chain, inspection
from .measurements import (
    accuracies,
    benchmark,
    budget_curve,
    checkpoints,
    comparison,
    latency_table,
)
from .messages import bug, document, failure
from .soup import soup

__all__ = [
    "accuracies",
    "benchmark",
    "benchmark_gate",
    "budget_curve",
    "bug",
    "chain",
    "checkpoint",
    "checkpoints",
    "comparison",
    "comparison_gate",
    "decision",
    "document",
    "failure",
    "inspection",
    "latency_table",
    "probe",
    "report",
    "shortfalls",
    "soup",
]
