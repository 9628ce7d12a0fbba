"""The command ``graphprune bench``: time ONNX models in onnxruntime, in turn."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from graphprune.errors import OptionError

from . import for_ci, option_values, options, render
from .progress import working

__all__ = ["bench"]


def bench(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="A.onnx B.onnx...", show_default=False, help="Ratios are to the first."
        ),
    ],
    *,
    batch: Annotated[
        str, typer.Option("--batch", metavar="N,...", help="Sizes of a dynamic leading axis.")
    ] = "1",
    threads: options.Threads = "0",
    provider: options.Provider = "CPU",
    rounds: Annotated[
        int,
        typer.Option(
            "--rounds",
            metavar="N",
            min=1,
            help="How often each model is timed, for 30 ms or one run.",
        ),
    ] = 50,
    warmup: Annotated[
        int,
        typer.Option(
            "--warmup", metavar="N", min=0, help="The same before that, without counting."
        ),
    ] = 5,
    dims: Annotated[
        list[str] | None,
        typer.Option(
            "--dim",
            metavar="NAME=N",
            show_default=False,
            help="Size of another dynamic axis; may be repeated.",
        ),
    ] = None,
    max_ratio: Annotated[
        float | None,
        typer.Option(
            "--max-ratio",
            metavar="R",
            show_default=False,
            help="Exit code 1 if another model than the first takes more than R of its time.",
        ),
    ] = None,
    summary: for_ci.Summary = None,
    junit: for_ci.Junit = None,
    as_json: options.Json = False,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
) -> None:
    """Time ONNX models in onnxruntime, taking turns.

    With --max-ratio, exit code 1 if one is slower than that.
    """
    sizes, counts = (
        option_values.numbers("--batch", batch),
        option_values.numbers("--threads", threads, least=0),
    )
    if max_ratio is not None and not 0 < max_ratio < math.inf:
        raise OptionError(f"--max-ratio must be a positive number, not {max_ratio}")
    if max_ratio is not None and len(models) < 2:
        raise OptionError(
            "--max-ratio is to the first model, and there is no other", hint="name two"
        )
    for_ci.check_places(summary, junit)
    named = option_values.sizes("--dim", dims or [])
    with working(
        verbose=verbose, quiet=quiet, stages=1 + len(sizes) * len(counts), engine=False
    ) as progress:
        from graphprune.export.bench import bench as run

        found = run(
            models,
            batches=sizes,
            threads=counts,
            provider=provider,
            rounds=rounds,
            warmup=warmup,
            dims=named,
            progress=progress,
        )
    if as_json:
        render.document(found.to_json())
    else:
        render.benchmark(found)
    gate = render.benchmark_gate(found, max_ratio)
    for_ci.tell(gate, summary=summary, junit=junit)
    if not gate.ok:
        render.shortfalls(gate)
        raise typer.Exit(1)
