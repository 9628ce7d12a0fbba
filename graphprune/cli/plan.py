"""The command ``graphprune plan``: decide which channels to keep."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from graphprune.errors import OptionError

from . import data_sources, option_values, options, output, render
from .model_source import ModelSource
from .progress import working

__all__ = ["plan"]


def plan(
    model: options.Model,
    *,
    flops: options.Flops = "",
    params: options.Params = "",
    latency: options.Latency = "",
    memory: options.Memory = "",
    file_size: options.FileSize = "",
    latency_table: options.Table = None,
    lossless: options.Lossless = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            show_default=False,
            help="Where to write the plan. Default: stdout.",
        ),
    ] = None,
    data: options.Data = "",
    mean: options.Mean = "",
    std: options.Std = "",
    size: options.Size = "",
    crop: options.Crop = None,
    interpolation: options.Interpolation = "",
    samples: options.Samples = data_sources.SAMPLES,
    seed: options.Seed = 0,
    score: options.ScoreName = "",
    allocate: options.Allocator = "dp",
    round_to: options.RoundTo = "fast",
    min_channels: options.MinChannels = 1,
    max_cut: options.MaxCut = None,
    protect: options.Protect = None,
    keep_class: options.KeepClass = False,
    any_width: options.AnyWidth = False,
    uniform: options.Uniform = None,
    keep_config: options.KeepConfig = None,
    depth: options.Depth = None,
    outputs: options.Outputs = None,
    device: options.Device = "",
    force: options.Force = False,
    arch: options.Arch = "",
    inputs: options.Inputs = None,
    trust_pickle: options.TrustPickle = False,
    ignore_extra_keys: options.IgnoreExtraKeys = False,
    strict_ops: options.StrictOps = False,
    allow_inexact: options.AllowInexact = False,
    as_json: options.Json = False,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
) -> None:
    """Decide which channels to keep; no model is written.

    Without -o, or with --json, stdout gets the plan, and the table goes to stderr.
    """
    source = ModelSource(
        model,
        arch,
        tuple(inputs or ()),
        trust_pickle,
        ignore_extra_keys,
        tuple(outputs or ()),
    )
    asked = {
        "flops": flops,
        "params": params,
        "latency": latency,
        "memory": memory,
        "size": file_size,
    }
    if any(asked.values()) or not (lossless or outputs):
        option_values.budgets(**asked)  # refuses what can't be read, before torch is imported
    table = option_values.latency_table(latency_table)
    if device and not data:
        raise OptionError("--device needs --data")
    source.check()
    with (
        output.new_file(out, force=force) if out else nullcontext() as write,
        working(verbose=verbose, quiet=quiet, stages=5 + bool(data) + (not any_width)) as progress,
    ):
        from graphprune import api
        from graphprune.passes import Decision
        from graphprune.workflow.decider import branches_may_go, chooser_of
        from graphprune.workflow.options import Options

        where = option_values.device(device)
        limits = Options(
            allocate=allocate,
            round_to=option_values.rounding(round_to),
            min_channels=min_channels,
            max_cut=max_cut,
            protect=tuple(protect or ()),
            keep_class=keep_class,
            uniform=option_values.patterns(uniform),
            keep_config=source.keeps_config(keep_config),
            depth=branches_may_go(depth, latency=latency, table=table, calibration=data or None),
            outputs=source.outputs,
            lossless=lossless,
        )
        amounts = {name: amount or None for name, amount in asked.items()}
        seen = data_sources.sources(
            data, "", data_sources.Preparation(mean, std, size, crop, interpolation), samples, seed
        )
        found = source.read()
        decision = api.decide(
            found.dense,
            found.inputs,
            allocator=chooser_of(limits, amounts),
            outputs=found.outputs,
            device=where,
            lossless=lossless,
            any_width=any_width,
            score=score or None,
            **data_sources.as_the_model_says(seen, found),
            strict_ops=strict_ops,
            allow_inexact=allow_inexact,
            latency_table=table,
            progress=progress,
        )[Decision]
        if write:
            write(decision.plan.to_json())
    if as_json or not out:
        render.document(decision.plan.to_json())
    if not quiet:
        render.decision(decision, to_stderr=as_json or not out)
