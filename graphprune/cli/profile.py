"""The command ``graphprune profile``: measure the latency of a model's operators."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphprune.errors import OptionError

from . import options, output, render
from .model_source import ModelSource
from .progress import working

__all__ = ["profile"]


def profile(
    model: options.Model,
    *,
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="FILE", show_default=False, help="Where to write the table."
        ),
    ],
    threads: Annotated[
        int,
        typer.Option(
            "--threads",
            metavar="N",
            min=0,
            help="Threads that one operator may use; 0: as many as onnxruntime takes by itself.",
        ),
    ] = 0,
    batch: Annotated[
        int,
        typer.Option(
            "--batch", metavar="N", min=1, help="Samples per run, if the batch is dynamic."
        ),
    ] = 1,
    provider: options.Provider = "CPU",
    rounds: Annotated[
        int,
        typer.Option(
            "--rounds",
            metavar="N",
            min=1,
            help="Runs of each operator at each width, in each of five visits.",
        ),
    ] = 6,
    networks: Annotated[
        int,
        typer.Option(
            "--networks",
            metavar="N",
            min=0,
            help="Smaller networks, each exported, that the table is scaled to and checked on.",
        ),
    ] = 4,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Draws them.")] = 0,
    depth: Annotated[
        bool,
        typer.Option(
            "--depth",
            help="Time what runs only where whole branches are gone, too, for plans with --depth.",
        ),
    ] = False,
    force: options.Force = False,
    arch: options.Arch = "",
    inputs: options.Inputs = None,
    trust_pickle: options.TrustPickle = False,
    ignore_extra_keys: options.IgnoreExtraKeys = False,
    allow_inexact: options.AllowInexact = False,
    as_json: options.Json = False,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
) -> None:
    """Measure in onnxruntime what each operator of a model takes at many widths.

    The table serves --latency and --round-to auto, on this machine or another.
    """
    source = ModelSource(model, arch, tuple(inputs or ()), trust_pickle, ignore_extra_keys)
    source.check()
    if out.suffix != ".json":
        raise OptionError("a latency table is a .json file", hint="-o table.json")
    with (
        output.new_file(out, force=force) as write,
        working(verbose=verbose, quiet=quiet, stages=4) as progress,
    ):
        from graphprune import api
        from graphprune.passes.latency import ProfileLatency

        found = source.read()
        how = ProfileLatency(
            threads=threads,
            batch=batch,
            provider=provider,
            rounds=rounds,
            networks=networks,
            seed=seed,
            depth=depth,
        )
        table = api.profile(
            found.dense, found.inputs, how=how, allow_inexact=allow_inexact, progress=progress
        )
        write(table.to_json())
    if as_json:
        render.document(table.to_json())
    else:
        render.latency_table(table, out)
