"""Declare what a command writes and shows while it runs."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "Device",
    "Force",
    "Json",
    "Quiet",
    "Verbose",
]

Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda|mps",
        show_default=False,
        help="Where the network runs on --data, --train and --val: to choose, refit and train. auto takes CUDA if there "
        "is any, else MPS, else the CPU; cuda:1 is the second one. Default: cpu.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an earlier result.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Verbose = Annotated[
    int,
    typer.Option(
        "-v",
        "--verbose",
        count=True,
        show_default=False,
        help="Say what is being done; -vv: say more.",
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")]
