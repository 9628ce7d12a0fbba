"""Declare what the smaller model may cost, and what decides its widths besides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "FileSize",
    "Flops",
    "Latency",
    "Lossless",
    "MaxDrop",
    "Memory",
    "Params",
    "PlanFile",
    "Provider",
    "Table",
    "Threads",
]

Flops = Annotated[
    str,
    typer.Option(
        metavar="AMOUNT",
        show_default=False,
        help="Budget: a fraction of the dense FLOPs (0.5, 50%), or absolute (1.2G).",
    ),
]
Params = Annotated[
    str,
    typer.Option(
        metavar="AMOUNT",
        show_default=False,
        help="Budget: a fraction of the dense parameters (0.5, 50%), or absolute (1.2M).",
    ),
]
Latency = Annotated[
    str,
    typer.Option(
        metavar="AMOUNT",
        show_default=False,
        help="Budget: a fraction of the dense time of a run in onnxruntime (0.6), or absolute (8ms).",
    ),
]
Memory = Annotated[
    str,
    typer.Option(
        metavar="AMOUNT",
        show_default=False,
        help="Budget: a fraction of the dense weights and largest live activations of a sample (0.5), "
        "or absolute (20MB).",
    ),
]
FileSize = Annotated[
    str,
    typer.Option(
        "--size",
        metavar="AMOUNT",
        show_default=False,
        help="Budget: a fraction of the dense ONNX file (0.5), or absolute (5MB).",
    ),
]
MaxDrop = Annotated[
    str,
    typer.Option(
        "--max-drop",
        metavar="POINTS",
        show_default=False,
        help="Instead of a budget: the smallest network whose accuracy on --val drops by at most "
        "this (1%, 0.01). Budgets are bisected, and each is a whole run.",
    ),
]
Lossless = Annotated[
    bool,
    typer.Option(
        "--lossless",
        help="Remove channels that go with no loss, as the weights prove it: zero, constant, "
        "duplicates, linear combinations. Alone, or before a budget.",
    ),
]
PlanFile = Annotated[
    Path | None, typer.Option("--plan", metavar="FILE", show_default=False, help="A plan to use.")
]
Table = Annotated[
    Path | None,
    typer.Option(
        "--latency-table",
        metavar="FILE",
        show_default=False,
        help="What `graphprune profile` measured, here or elsewhere. Default: it is measured now.",
    ),
]
Threads = Annotated[
    str,
    typer.Option(
        "--threads",
        metavar="N,...",
        help="Threads that one operator may use; 0: as many as onnxruntime takes by itself.",
    ),
]
Provider = Annotated[
    str,
    typer.Option(
        "--provider", metavar="NAME", help="onnxruntime's execution provider: CPU, CUDA, ..."
    ),
]
