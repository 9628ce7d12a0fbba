"""The command ``graphprune compress``: cut a model to a budget and write the result."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphprune.errors import OutputError

from . import compress_options, data_sources, option_values, options, output, processes, render
from .compress_source import compress_source
from .model_source import ModelSource
from .progress import working

if TYPE_CHECKING:
    from graphprune.workflow.result import Result

__all__ = ["compress"]


def compress(
    model: options.Model,
    *,
    flops: options.Flops = "",
    params: options.Params = "",
    latency: options.Latency = "",
    memory: options.Memory = "",
    file_size: options.FileSize = "",
    latency_table: options.Table = None,
    max_drop: options.MaxDrop = "",
    val: options.Val = "",
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FOLDER",
            show_default=False,
            help="Where to write model.pt, model.pt2, model.onnx, plan.json, report.json and "
            "report.html.",
        ),
    ] = None,
    plan: options.PlanFile = None,
    lossless: options.Lossless = False,
    data: options.Data = "",
    mean: options.Mean = "",
    std: options.Std = "",
    size: options.Size = "",
    crop: options.Crop = None,
    interpolation: options.Interpolation = "",
    samples: options.Samples = data_sources.SAMPLES,
    seed: options.Seed = 0,
    recover: options.Recover = "",
    distil: options.Distil = "",
    finetune: options.Finetune = None,
    train: options.Train = "",
    augment: options.Augment = "",
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
    safetensors: Annotated[
        bool, typer.Option("--safetensors", help="Write the weights as model.safetensors too.")
    ] = False,
    no_onnx: Annotated[bool, typer.Option("--no-onnx", help="No ONNX file.")] = False,
    opset: Annotated[
        int | None,
        typer.Option(
            "--opset",
            metavar="N",
            min=1,
            show_default=False,
            help="Version of the ONNX operator set. Default: the model's, or torch's.",
        ),
    ] = None,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Write model.fp16.onnx too, in float16.")
    ] = False,
    no_html: Annotated[bool, typer.Option("--no-html", help="No report.html.")] = False,
    force: options.Force = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Decide, cut and verify, but write nothing.")
    ] = False,
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
    """Cut a model to a budget, or with no loss, prove that the result is right, and write it."""
    source = ModelSource(
        model,
        arch,
        tuple(inputs or ()),
        trust_pickle,
        ignore_extra_keys,
        tuple(outputs or ()),
    )
    source.check()
    limits: dict[str, Any] = {
        "score": score or None,
        "allocate": allocate,
        "round_to": option_values.rounding(round_to),
        "min_channels": min_channels,
        "max_cut": max_cut,
        "protect": tuple(protect or ()),
        "keep_class": keep_class,
        "any_width": any_width,
        "uniform": option_values.patterns(uniform),
        "keep_config": source.keeps_config(keep_config) if not plan else bool(keep_config),
        "depth": depth,
        "allow_inexact": allow_inexact,
        "lossless": lossless,
    }
    budgets = {
        "flops": flops,
        "params": params,
        "latency": latency,
        "memory": memory,
        "size": file_size,
    }
    if plan:
        budget = bool(max_drop) or any(budgets.values())
        how = compress_options.given(plan, limits, budget=budget)
    else:
        how = (
            compress_options.wanted(budgets, max_drop, lossless=lossless, outputs=outputs) | limits
        )
    how |= {
        "latency_table": option_values.latency_table(latency_table),
        "recover": recover or None,
        "strict_ops": strict_ops,
    }
    compress_options.check_pairs(
        max_drop=max_drop,
        val=val,
        augment=augment,
        distil=distil,
        finetune=finetune,
        train=train,
        data=data,
        recover=recover,
        onnx=not no_onnx,
        opset=opset,
        fp16=fp16,
        device=device,
    )
    if not out and not dry_run:
        raise OutputError("no place to write to", hint="-o FOLDER, or --dry-run")
    other = processes.join() > 0
    if other:  # the first process writes and shows
        out, quiet, dry_run = None, True, True
    trained = bool(distil or finetune)
    stages = 7 + (not no_onnx) + 3 * bool(data or train) + trained + (not any_width)
    stages += limits["keep_config"]
    start = time.perf_counter()
    with (
        output.new_folder(out, force=force) if out and not dry_run else nullcontext() as folder,
        working(verbose=verbose, quiet=quiet, stages=stages) as progress,
    ):
        from graphprune.workflow import write

        how["device"] = option_values.device(device)
        how |= data_sources.sources(
            data,
            val,
            data_sources.Preparation(mean, std, size, crop, interpolation),
            samples,
            seed,
            train,
        )
        kind = "finetune" if finetune else "distil"
        unfinished = out.with_name(f".{out.name}.{kind}") if folder and out else None
        if trained:
            how |= {
                "distil": distil or None,
                "finetune": finetune,
                "checkpoint": unfinished,
                "augment": tuple(filter(None, augment.split(","))),
            }
        result = compress_source(source, how, start, progress, quiet=quiet)
        if folder:
            result = write.write(
                result,
                folder,
                onnx=not no_onnx,
                opset=opset,
                fp16=fp16,
                safetensors=safetensors,
                page=not no_html,
                progress=progress,
            )
    if unfinished:
        unfinished.unlink(missing_ok=True)
    if not other:
        _show(result, out if folder else None, as_json=as_json)
    if not result.report.budget["met"]:  # only a given plan can miss its own budget
        raise typer.Exit(1)


def _show(result: Result, out: Path | None, *, as_json: bool) -> None:
    if as_json:
        render.document(result.report.to_json())
    else:
        render.report(result.report, out)
