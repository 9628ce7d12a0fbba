"""``graphprune compress``."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphprune.cli import options, output, render
from graphprune.cli.progress import working
from graphprune.errors import OutputError, PlanError

if TYPE_CHECKING:
    from graphprune.api import Result

__all__ = ["compress"]


def compress(
    model: options.Model,
    *,
    flops: options.Flops = "",
    params: options.Params = "",
    out: Annotated[Path | None, typer.Option(
        "-o", "--output", metavar="FOLDER", show_default=False,
        help="Where to write model.pt, model.pt2, model.onnx, plan.json and report.json.",
    )] = None,
    plan: options.PlanFile = None,
    score: options.ScoreName = "l2",
    allocate: options.Allocator = "dp",
    round_to: options.RoundTo = 1,
    min_channels: options.MinChannels = 1,
    max_cut: options.MaxCut = 1.0,
    protect: options.Protect = None,
    safetensors: Annotated[bool, typer.Option(
        "--safetensors", help="Write the weights as model.safetensors too.")] = False,
    no_onnx: Annotated[bool, typer.Option("--no-onnx", help="No ONNX file.")] = False,
    force: options.Force = False,
    dry_run: Annotated[bool, typer.Option(
        "--dry-run", help="Decide, cut and verify, but write nothing.")] = False,
    arch: options.Arch = "",
    inputs: options.Inputs = None,
    trust_pickle: options.TrustPickle = False,
    strict_ops: options.StrictOps = False,
    allow_inexact: options.AllowInexact = False,
    as_json: options.Json = False,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
) -> None:
    """Cut a model to a budget, prove that the result is right, and write it."""
    source = options.Source(model, arch, tuple(inputs or ()), trust_pickle)
    limits: dict[str, Any] = {"score": score, "allocate": allocate, "round_to": round_to,
              "min_channels": min_channels, "max_cut": max_cut, "protect": tuple(protect or ()),
              "allow_inexact": allow_inexact}
    how: dict[str, Any] = _given(plan, limits, flops or params) if plan else {
        **options.check_budget(flops, params), **limits}
    if not out and not dry_run:
        raise OutputError("no place to write to", hint="-o FOLDER, or --dry-run")
    _ = source.file
    with (
        output.new_folder(out, force=force) if out and not dry_run else nullcontext() as folder,
        working(verbose=verbose, quiet=quiet, stages=7 if no_onnx else 8) as progress,
    ):
        start = time.perf_counter()
        from graphprune import api, artifacts

        found = source.read()
        dense = found.program or found.model
        assert dense is not None
        name = source.file.name if found.program else type(dense).__name__
        loaded = time.perf_counter() - start
        result = api.compress(dense, found.inputs, **how, strict_ops=strict_ops, progress=progress)
        result = replace(_told(result, name, source.file, loaded), interface=found.interface)
        if folder:
            result = artifacts.write(result, folder, onnx=not no_onnx, safetensors=safetensors,
                                     progress=progress)
    if as_json:
        render.text(result.report.to_json())
    else:
        render.report(result.report, out if folder else None)
    if not result.report.budget["met"]:  # only a given plan can miss its own budget
        raise typer.Exit(1)


_DEFAULTS = {"score": "l2", "allocate": "dp", "round_to": 1, "min_channels": 1, "max_cut": 1.0,
             "protect": (), "allow_inexact": False}


def _given(path: Path, limits: dict[str, Any], budget: str) -> dict[str, Any]:
    """Keyword arguments for a plan; nothing else may ask for widths.

    Raises:
        PlanError: if an option would be ignored, or the plan can't be read.
    """
    ignored = [name for name, value in limits.items() if value != _DEFAULTS[name]]
    if budget or ignored:
        names = ["a budget"] * bool(budget) + [f"--{n.replace('_', '-')}" for n in ignored]
        raise PlanError(f"--plan decides already; leave out {', '.join(names)}")
    return {"plan": options.read_plan(path)}


def _told(result: Result, name: str, file: Path, loaded: float) -> Result:
    """The result, whose report knows the file it came from."""
    seconds = {"load": loaded, **result.report.seconds}
    source = {"file": file.name, "bytes": file.stat().st_size}
    report = replace(result.report, model=name, source=source, seconds=seconds)
    return replace(result, report=report)
